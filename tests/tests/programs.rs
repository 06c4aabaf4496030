//! Ordinary programs run unchanged with every call traced.

use anyhow::Result;
use kcov_tests::{Control, Run, Session, client};
use nix::sys::signal::Signal;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

const GO: u64 = 0;
const READY: u64 = 1;
const FACTS: u64 = 2;

/// Runs the command with every call traced, and asserts that it prints the same as without the broker.
#[track_caller]
fn assert_same_output(run: Run) -> Result<String> {
    let traced = run.clone().trace("every").output()?;
    traced.assert_sound()?;
    let bare = run.bare().output()?;
    assert_eq!(traced.stdout, bare.stdout, "{}", traced.stderr);
    assert_ne!(traced.stdout, "", "the program printed nothing");
    Ok(traced.stdout)
}

/// Pipes, subshells, substitutions, here documents, background jobs and traps in bash.
#[test]
fn bash_runs_unchanged() -> Result<()> {
    let script = r#"
        set -euo pipefail
        seq 1 2000 | sort -rn | awk '{ sum += $1 } END { print sum }'
        echo "$( (echo inner; exit 3) || echo "status $?")"
        cat <(echo substituted) - <<< "here"
        for i in 1 2 3 4 5 6 7 8; do (sleep 0.0$i; exit $i) & done
        total=0; for job in $(jobs -p); do wait "$job" || total=$((total + $?)); done; echo "total $total"
        trap 'echo trapped' USR1; kill -USR1 $$
        set -m; sleep 100 & kill %1; wait %1 || echo "job $?"
        coproc cat; echo through >&"${COPROC[1]}"; read -r line <&"${COPROC[0]}"; echo "$line"
    "#;
    let output = assert_same_output(Run::bash(script))?;
    assert!(output.contains("2001000") && output.contains("total 36"), "{output}");
    Ok(())
}

/// Threads, subprocesses, a pool of forked processes and an event loop in Python.
#[test]
fn python_runs_unchanged() -> Result<()> {
    let script = r"
import asyncio, multiprocessing, subprocess, sys, tempfile, threading, time
def square(n): return n * n
total, lock = 0, threading.Lock()
def add(n):
    global total
    for _ in range(100):
        time.sleep(0.0001)
        with lock: total += n
threads = [threading.Thread(target=add, args=(n,)) for n in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print('threads', total)
print('subprocess', subprocess.run(['sh', '-c', 'cat; exit 4'], input=b'in', capture_output=True))
with multiprocessing.get_context('fork').Pool(4) as pool: print('pool', sum(pool.map(square, range(1000))))
with tempfile.TemporaryFile() as f:
    f.write(b'x' * 100000); f.seek(0); print('file', len(f.read()))
async def main(): return await asyncio.gather(*(asyncio.sleep(0.01, n) for n in range(50)))
print('asyncio', sum(asyncio.run(main())))
try: open('/no/such/file')
except OSError as error: print(error)
";
    let output = assert_same_output(Run::new(["python3", "-c", script]))?;
    assert!(output.contains("threads 2800") && output.contains("pool 332833500"), "{output}");
    Ok(())
}

/// A compiler, and the program that it built.
#[test]
fn a_compiler_and_its_program_run_unchanged() -> Result<()> {
    let place = Session::new()?;
    fs::write(
        place.path("sum.c"),
        "#include <stdio.h>\nint main(void) { long s = 0; for (int i = 0; i < 1000; i++) s += i;\
         printf(\"%ld\\n\", s); return 0; }\n",
    )?;
    let script = "cc -O2 -o sum sum.c && ./sum && rm sum";
    let output = assert_same_output(Run::bash(script).directory(place.directory()))?;
    assert_eq!(output, "499500\n");
    Ok(())
}

/// Threads of one process, each with its own device, that synchronise by futexes.
#[test]
fn threads_with_devices_of_their_own_synchronise() -> Result<()> {
    let outcome = Run::new([client("threads")?]).trace("every").output()?;
    outcome.assert_sound()?;
    assert_eq!(outcome.stdout, "400\n");
    Ok(())
}

/// The profile for syzkaller runs ordinary programs too.
#[test]
fn programs_run_under_the_syzkaller_profile() -> Result<()> {
    let outcome = Run::bash("seq 1 100 | sort -n | tail -1").trace("syzkaller").output()?;
    outcome.assert_sound()?;
    assert_eq!(outcome.stdout, "100\n");
    Ok(())
}

/// Two handlers of signals, one run a thousand times a second, restart the calls that they interrupt: no call
/// fails and none takes effect twice, also while the process is stopped and continued.
#[test]
fn calls_survive_signal_handlers_and_stops() -> Result<()> {
    let session = Session::new()?;
    let control = Control::new(session.path("control"))?;
    let program = client("signals")?;
    let run = Run::new([program.as_os_str(), control.path().as_os_str()]).trace("every");
    let mut running = run.start_in(session)?;
    running.reach(&control, READY, 1)?;
    let client =
        running.session.processes().into_iter().find(|process| process.executable() == Some(program.clone()));
    let client = nix::unistd::Pid::from_raw(client.map_or(-1, |process| process.0));
    anyhow::ensure!(client.as_raw() > 0, "the client was not found");
    for _ in 0..10 {
        let calls = control.get(FACTS)?;
        running.reach(&control, FACTS, calls + 300)?;
        nix::sys::signal::kill(client, Signal::SIGSTOP)?;
        sleep(Duration::from_millis(20));
        nix::sys::signal::kill(client, Signal::SIGCONT)?;
    }
    let alarms = control.get(FACTS + 1)?;
    running.reach(&control, FACTS + 1, alarms + 100)?;
    control.set(GO, 1)?;
    let outcome = running.finish()?;
    assert_eq!(control.get(FACTS + 3)?, 0, "calls that failed or were done twice");
    assert!(control.get(FACTS + 2)? > 0, "the second handler never ran");
    outcome.assert_sound()?;
    Ok(())
}
