//! Programs do not notice the broker: no call that a handler does not claim fails or hangs, whatever happens
//! to workers, and shells and interpreters give the results that they give without it.
//!
//! | part | what disturbs |
//! |---|---|
//! | signals | a handler of `SIGCHLD` without `SA_RESTART`, as in Debian's `/bin/sh` |
//! | bystanders | handlers that hang or crash, readers that are stuck |

use anyhow::{Context, Result, ensure};
use kcov_tests::client::library_with;
use kcov_tests::{Outcome, Run, client, library, long, ordinary};
use std::ffi::OsString;
use std::panic::resume_unwind;
use std::time::Duration;

const PROFILES: [&str; 3] = ["kcov", "syzkaller", "all"];
/// Deadline of a run that hangs.
const WITHIN: Duration = Duration::from_secs(120);
/// Exit status of a client that needs something this machine lacks.
const UNAVAILABLE: i32 = 77;

/// 100 pipelines of three processes.
const PIPELINES: &str = r#"
i=0
while [ $i -lt 100 ]; do
  n=$(echo a b c | tr ' ' '\n' | wc -l)
  [ "$n" = 3 ] || echo "wrong result $n in round $i"
  i=$((i+1))
done
echo complete
"#;

/// A daemon in Python that handles two signals, one of them every millisecond.
const DAEMON: &str = r"
import os, signal, socket, subprocess, time
signal.signal(signal.SIGCHLD, lambda *_: None)
signal.signal(signal.SIGALRM, lambda *_: None)
errors = {}
def attempt(name, act):
    try:
        return act()
    except OSError as error:
        key = f'{name} {error.strerror}'
        errors[key] = errors.get(key, 0) + 1
def rename():
    open('one', 'w').close()
    os.rename('one', 'two')
    os.unlink('two')
def fork():
    child = os.fork()
    if child == 0: os._exit(0)
    os.waitpid(child, 0)
before = len(os.listdir('/proc/self/fd'))
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
for i in range(1500):
    ends = attempt('pipe', os.pipe)
    if ends:
        os.close(ends[0]); os.close(ends[1])
    attempt('listdir', lambda: os.listdir('/etc/default'))
    attempt('stat', lambda: os.stat('/etc/passwd'))
    attempt('dup', lambda: os.close(os.dup(1)))
    attempt('socket', lambda: socket.socket().close())
    attempt('rename', rename)
    if i % 50 == 0:
        attempt('subprocess', lambda: subprocess.run(['true']))
        attempt('fork', fork)
signal.setitimer(signal.ITIMER_REAL, 0)
time.sleep(.01)
print('leaked descriptors', len(os.listdir('/proc/self/fd')) - before)
print(sorted(errors.items()))
";

/// Who runs the broker.
#[derive(Clone, Copy, Debug)]
enum Owner {
    Root,
    User,
}

fn run(owner: Owner, options: &[&str], command: &[OsString]) -> Result<Outcome> {
    let session = ordinary::session()?;
    let run = match owner {
        Owner::Root => options.iter().fold(Run::new(command), |run, option| run.option(option)),
        Owner::User => ordinary::run(&session, options, command)?,
    };
    run.within(WITHIN).directory(session.directory()).start_in(session)?.finish()
}

/// Does the work `count` times at once.
fn at_once<T: Send>(count: usize, work: impl Fn() -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(&work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

/// Runs the command `times` times under each profile, as root and as a user, two at a time, and asserts its
/// output. A handler is loaded that the command does not call.
fn assert_unnoticed(command: &[OsString], times: usize, output: &str) -> Result<()> {
    let handler = library("syslog")?.display().to_string();
    let one = |owner: Owner, profile: &str| -> Result<()> {
        let outcome = run(owner, &["--trace", profile, "--handler", &handler], command)?;
        ensure!(outcome.stdout == output, "{owner:?}, {profile}: {:?}\n{}", outcome.stdout, outcome.stderr);
        outcome.assert_sound().map(drop)
    };
    for owner in [Owner::Root, Owner::User] {
        for profile in PROFILES {
            at_once(2, || (0..times / 2).try_for_each(|_| one(owner, profile)))?;
        }
    }
    Ok(())
}

fn times(few: usize, many: usize) -> usize {
    if long() { many } else { few }
}

#[test]
fn pipelines_of_a_shell_are_right() -> Result<()> {
    let command = ["dash", "-c", PIPELINES].map(OsString::from);
    assert_unnoticed(&command, times(4, 200), "complete\n")
}

#[test]
fn calls_that_never_return_eintr_are_not_interrupted() -> Result<()> {
    let command = [client("lost_calls")?.into_os_string(), "2000".into()];
    assert_unnoticed(&command, times(2, 20), "pipe 0\nfork 0\nclose 0\nmmap 0\nopen 0\ndup 0\n")
}

#[test]
fn a_daemon_in_python_sees_no_interrupted_call() -> Result<()> {
    let command = ["python3", "-c", DAEMON].map(OsString::from);
    assert_unnoticed(&command, times(2, 20), "leaked descriptors 0\n[]\n")
}

/// A run of a client beside a handler that hangs or crashes.
fn disturbed(words: &[&str], options: &[&str], handler: &str) -> Result<Outcome> {
    let (name, arguments) = words.split_first().context("a client")?;
    let command: Vec<OsString> =
        [client(name)?.into_os_string()].into_iter().chain(arguments.iter().map(Into::into)).collect();
    run(Owner::Root, &[options, &["--handler", handler]].concat(), &command)
}

#[test]
fn threads_lock_a_mutex_while_others_hang_in_a_handler() -> Result<()> {
    let handler = library("syslog")?.display().to_string();
    for hanging in ["1", "3", "8"] {
        let words = ["beside_hang", "mutex", hanging, "4"];
        let outcome = disturbed(&words, &["--trace", "all", "--deadline", "500ms"], &handler)?;
        assert_eq!(
            (outcome.code(), outcome.stdout.as_str()),
            (0, "alive\n"),
            "{hanging}: {}",
            outcome.stderr
        );
    }
    Ok(())
}

#[test]
fn files_are_opened_and_mapped_while_threads_hang_in_a_handler() -> Result<()> {
    let handler = library("syslog")?.display().to_string();
    for hanging in ["1", "2", "8"] {
        let words = ["beside_hang", "files", hanging, "4"];
        let outcome = disturbed(&words, &["--trace", "kcov", "--deadline", "500ms"], &handler)?;
        let expected = "opens failed 0\nmaps failed 0\nlongest below the deadline\n";
        assert_eq!((outcome.code(), outcome.stdout.as_str()), (0, expected), "{hanging}: {}", outcome.stderr);
    }
    Ok(())
}

/// Four tenants at once.
#[test]
fn a_call_behind_a_stuck_reader_succeeds() -> Result<()> {
    let handler = library("syslog")?.display().to_string();
    client("after_stuck")?;
    let tries = times(60, 300).to_string();
    let options = ["--trace", "every", "--deadline", "60ms"];
    for outcome in at_once(4, || disturbed(&["after_stuck", &tries], &options, &handler))? {
        if outcome.code() == UNAVAILABLE {
            println!("no userfaultfd on this machine");
            continue;
        }
        assert_eq!((outcome.code(), outcome.stdout.as_str()), (0, "failed 0\n"), "{}", outcome.stderr);
    }
    Ok(())
}

#[test]
fn pipes_work_while_a_handler_crashes() -> Result<()> {
    let include = format!("-I{}", kcov_tests::binaries::workspace().join("worker/include").display());
    let flags = ["-std=gnu11", "-O1", "-g", "-shared", "-fPIC", "-pthread", "-fsanitize=address", &include];
    let vault = library_with("vault", "-asan-plain", flags.map(OsString::from))?.display().to_string();
    let words = ["pipes_beside_crashes", if long() { "1000" } else { "100" }, "6"];
    let outcome = disturbed(&words, &["--trace", "syzkaller", "--deadline", "50ms"], &vault)?;
    assert_eq!((outcome.code(), outcome.stdout.as_str()), (0, "crashed\nfailed 0\n"), "{}", outcome.stderr);
    Ok(())
}
