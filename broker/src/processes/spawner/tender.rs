//! The tender process: the parent of the tenant's command and the subreaper of all its processes.
//!
//! Because the tender is a child subreaper, all processes of the tenant are its descendants at all times. So it sees when
//! the last one ends, it can kill all of them, and a reader can check whether a process belongs to the tenant. The filter
//! does not apply to the tender. It reports events of the command to the broker and forwards signals to the command.

use super::message::{TenderEvent, TenderOrder};
use crate::launch::rootless;
use crate::launch::{Launch, OnBrokerDeath};
use crate::processes::ending::{KILL_TIME, Survivors, end_children};
use crate::sandbox::confine;
use crate::sandbox::filter;
use crate::sandbox::placeholder::{self, Placeholders};
use crate::sys::fork::{self, Pointers};
use crate::sys::pidfd;
use crate::sys::process::pidfd_open;
use crate::sys::procfs;
use crate::sys::shared::SharedWords;
use crate::sys::socket::{Channel, ChannelError};
use kcov_proto::claims::Claims;
use kcov_proto::sync::Ordering;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::time::TimeSpec;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setpgid};
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Word of the shared page: descriptor number of the listener in the child, plus 1.
const LISTENER: usize = 0;
/// Word of the shared page: errno of the exec, plus 1.
const EXEC: usize = 1;
/// Interval at which the tender polls for the word. The child cannot wake it: any system call may be trapped.
const LOOK: Duration = Duration::from_micros(50);

/// Main function of the tender. `descriptors` holds the socket to the broker. Returns the exit status.
pub fn serve(descriptors: Vec<OwnedFd>, launch: &Launch, claims: &Claims) -> i32 {
    let Ok([socket]) = <[OwnedFd; 1]>::try_from(descriptors) else { return 1 };
    launch.name_process(c"kcov-tender");
    let mut broker = Channel::from(socket);
    match Tender::start(&mut broker, launch, claims) {
        Ok(tender) => tender.run(&mut broker, launch.on_broker_death),
        // The broker is gone, or has been told already.
        Err(StartError::Channel) => 1,
        Err(StartError::Step { step, errno }) => {
            let failed = TenderEvent::Failed { step, errno: errno as i32, exec: false };
            let _ = broker.send(&failed, &[]);
            1
        }
    }
}

enum StartError {
    Channel,
    Step { step: String, errno: Errno },
}

impl From<ChannelError> for StartError {
    fn from(_: ChannelError) -> Self {
        StartError::Channel
    }
}

fn step(step: &'static str) -> impl FnOnce(Errno) -> StartError {
    move |errno| StartError::Step { step: step.into(), errno }
}

struct Tender {
    command: Pid,
    words: SharedWords,
}

impl Tender {
    /// Starts the command, up to its exec, and sends its listener to the broker.
    fn start(broker: &mut Channel, launch: &Launch, claims: &Claims) -> Result<Self, StartError> {
        nix::sys::prctl::set_child_subreaper(true).map_err(step("becoming a subreaper"))?;
        let words = SharedWords::new(c"kcov-start", 512).map_err(step("sharing a page"))?;
        let (ours, theirs) = crate::sys::socket::pair()?;
        let command = fork::child(|| {
            // Without its copy of the parent's end, the child sees when the tender dies.
            fork::close_copy(&ours);
            Command { launch, claims, words: &words, tender: theirs.into() }.run()
        })
        .map_err(step("fork"))?;
        // Close the inherited terminal, pipes and other descriptors: readers of the command's output must see EOF when
        // the command ends.
        confine::keep_only(&[broker.as_fd(), ours.as_fd(), words.file()])
            .map_err(|error| StartError::Step { step: error.to_string(), errno: Errno::EIO })?;
        let mut child = Channel::from(ours);
        let (placed, description) = child.receive::<TenderEvent>()?;
        let description: Vec<&dyn AsFd> = description.iter().map(|fd| fd as &dyn AsFd).collect();
        broker.send(&placed, &description)?;
        if let TenderEvent::Failed { .. } = placed {
            return Err(StartError::Channel);
        }
        let (order, _) = broker.receive::<TenderOrder>()?;
        child.send(&order, &[])?;
        let listener = take_listener(command, &words, &mut child)?;
        broker.send(&TenderEvent::Listening, &[&listener])?;
        Ok(Tender { command, words })
    }

    /// Forwards signals and reports events until no process of the tenant is left.
    fn run(self, broker: &mut Channel, on_broker_death: OnBrokerDeath) -> i32 {
        // Not earlier: the command would inherit it. See `ignore_signals` of the spawner.
        fork::ignore(Signal::SIGHUP);
        // SIGCHLD is unblocked only during ppoll, so none is lost between reaping and waiting.
        let mut child = SigSet::empty();
        child.add(Signal::SIGCHLD);
        let flag = std::sync::Arc::default();
        let ready = child.thread_block().is_ok()
            && signal_hook::flag::register(signal_hook::consts::SIGCHLD, flag).is_ok();
        if !ready {
            return 1;
        }
        let mut watch = Watch::default();
        loop {
            if self.reap(broker) {
                let _ = broker.send(&TenderEvent::Gone, &[]);
                // Wait for the broker, which closes its socket to end this process.
                let _ = broker.receive::<TenderOrder>();
                return 0;
            }
            let mut fds = [PollFd::new(broker.as_fd(), PollFlags::POLLIN)];
            match nix::poll::ppoll(&mut fds, watch.interval(), Some(SigSet::empty())) {
                Err(Errno::EINTR) => continue,
                Err(_) => return end().map_or(1, |()| 1),
                Ok(0) => {
                    if watch.is_stuck(self.command) && !end_or_report(broker) {
                        return 1;
                    }
                    continue;
                }
                Ok(_) => {}
            }
            match broker.receive::<TenderOrder>() {
                Ok((TenderOrder::Signal(number), _)) => {
                    if let Ok(signal) = Signal::try_from(number) {
                        // The pid cannot be reused before this process reaps it. It may be gone, which is not an
                        // error.
                        let _ = kill(self.command, signal);
                    }
                    watch.start();
                    let _ = broker.send(&TenderEvent::Signalled, &[]);
                }
                Ok((TenderOrder::Go, _)) => {}
                Ok((TenderOrder::Kill, _)) => {
                    if !end_or_report(broker) {
                        return 1;
                    }
                }
                Err(_) if on_broker_death == OnBrokerDeath::Enosys => return outlive_children(),
                Err(_) => return end().map_or(1, |()| 1),
            }
        }
    }

    /// Reaps children and reports events of the command. Returns whether no child is left.
    fn reap(&self, broker: &mut Channel) -> bool {
        loop {
            let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED;
            let (pid, event) = match waitpid(None, Some(flags)) {
                Ok(WaitStatus::Exited(pid, status)) => (pid, TenderEvent::Ended { status: status as u8 }),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    (pid, TenderEvent::Ended { status: 128 + signal as u8 })
                }
                Ok(WaitStatus::Stopped(pid, signal)) => (pid, TenderEvent::Stopped(signal as i32)),
                Ok(WaitStatus::Continued(pid)) => (pid, TenderEvent::Continued),
                Ok(WaitStatus::StillAlive) => return false,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(_) => return true,
            };
            if pid == self.command {
                let _ = broker.send(&self.exec_failure().unwrap_or(event), &[]);
            }
        }
    }

    /// The failure of the exec, if the command ended because of it.
    fn exec_failure(&self) -> Option<TenderEvent> {
        let errno = self.words[EXEC].load(Ordering::Acquire).checked_sub(1)? as i32;
        Some(TenderEvent::Failed { step: "exec".into(), errno, exec: true })
    }
}

/// Kills all processes of the tenant and waits until they are gone.
fn end() -> Result<(), Survivors> {
    end_children(None, KILL_TIME, |_| true)
}

/// As [`end`]. Reports to the broker what is left. Returns whether nothing is.
fn end_or_report(broker: &mut Channel) -> bool {
    let ended = end();
    if let Err(survivors) = &ended {
        let _ = broker.send(&TenderEvent::Left { message: survivors.to_string() }, &[]);
    }
    ended.is_ok()
}

/// Watches whether the command takes a signal that should end it. A command that waits in the kernel (a file system that
/// does not answer) never does.
#[derive(Debug, Default)]
struct Watch {
    /// Looks so far, while it watches. Not a time: a frozen control group must not count.
    looks: Option<u32>,
}

impl Watch {
    const INTERVAL: Duration = Duration::from_millis(100);
    /// Looks in a row at a command that does not take a signal before it is killed: 2 s.
    const LOOKS: u32 = 20;

    /// A signal was sent to the command.
    fn start(&mut self) {
        self.looks.get_or_insert(0);
    }

    fn interval(&self) -> Option<TimeSpec> {
        self.looks.map(|_| TimeSpec::from_duration(Self::INTERVAL))
    }

    /// One look. Returns whether the command has not taken the signal for too long.
    fn is_stuck(&mut self, command: Pid) -> bool {
        let holds = procfs::threads(command.as_raw().cast_unsigned()).into_iter().any(holds_signal);
        self.looks = self.looks.filter(|_| holds).map(|looks| looks + 1);
        let is_stuck = self.looks.is_some_and(|looks| looks >= Self::LOOKS);
        self.looks = self.looks.filter(|_| !is_stuck);
        is_stuck
    }
}

/// Whether a thread waits in the kernel with a pending signal that should end it.
fn holds_signal(tid: u32) -> bool {
    /// Waits that look like that, although a fatal signal ends them: for the answer to a traced call, which has a deadline,
    /// and for the child of a vfork.
    const KILLABLE: [&str; 3] = ["seccomp_", "kernel_clone", "wait_for_vfork"];
    const ENDING: [Signal; 5] =
        [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGKILL];
    let ending = ENDING.iter().fold(0, |bits, &signal| bits | 1_u64 << (signal as u32 - 1));
    let fatal = 1_u64 << (Signal::SIGKILL as u32 - 1);
    let Some((pending, true)) = procfs::pending_in_kernel(tid) else { return false };
    // A fatal signal sends SIGKILL to each thread (`complete_signal` in kernel/signal.c). Another one has a handler.
    pending & fatal != 0
        || pending & ending != 0
            && procfs::waits_in(tid).is_some_and(|name| !KILLABLE.iter().any(|wait| name.starts_with(wait)))
}

/// Waits until the tenant, which runs on without its broker, has ended.
fn outlive_children() -> i32 {
    loop {
        match waitpid(None, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return 0,
        }
    }
}

/// Waits until the child has installed its filter, then gets a copy of the listener.
fn take_listener(command: Pid, words: &SharedWords, channel: &mut Channel) -> Result<OwnedFd, StartError> {
    let child = pidfd_open(command.as_raw() as u32, false).map_err(step("pidfd_open"))?;
    loop {
        if let Some(number) = words[LISTENER].load(Ordering::Acquire).checked_sub(1) {
            return pidfd::get_fd(child.as_fd(), number as i32).map_err(step("pidfd_getfd"));
        }
        if pidfd::is_dead(child.as_fd()) {
            if let Ok((TenderEvent::Failed { step, errno, .. }, _)) = channel.try_receive() {
                return Err(StartError::Step { step, errno: Errno::from_raw(errno) });
            }
            let errno = words[EXEC]
                .load(Ordering::Acquire)
                .checked_sub(1)
                .map_or(Errno::ESRCH, |errno| Errno::from_raw(errno as i32));
            return Err(StartError::Step { step: "installing the filter".into(), errno });
        }
        std::thread::sleep(LOOK);
    }
}

/// The step of installing the filter, as a message names it.
fn installing(errno: Errno) -> &'static str {
    match errno {
        Errno::EBUSY => {
            "a supervisor already receives calls of this process (another kcov-broker, a container engine, a sandbox), \
             and the kernel permits only one: start kcov-broker outside of it"
        }
        _ => "installing the filter",
    }
}

/// The child of the tender that will exec the command.
struct Command<'a> {
    launch: &'a Launch,
    claims: &'a Claims,
    words: &'a SharedWords,
    tender: Channel,
}

impl Command<'_> {
    fn run(mut self) -> i32 {
        let failed = match self.prepare() {
            Ok(never) => match never {},
            Err(failed) => failed,
        };
        let StartError::Step { step, errno } = failed else { return 1 };
        let _ = self.tender.send(&TenderEvent::Failed { step, errno: errno as i32, exec: false }, &[]);
        1
    }

    fn prepare(&mut self) -> Result<Infallible, StartError> {
        let launch = self.launch;
        match launch.service {
            // The broker has already created a session.
            Some(_) => drop(setpgid(Pid::from_raw(0), Pid::from_raw(0))),
            // Join the job of the terminal, which the helpers are not part of. This fails if the job is gone, which does
            // no harm.
            None => drop(setpgid(Pid::from_raw(0), launch.group)),
        }
        if let Some(shown) = launch.rootless {
            rootless::enter(shown)
                .map_err(|error| StartError::Step { step: error.what(), errno: error.errno() })?;
        }
        let owner = launch.service.as_ref().and_then(|service| service.identity.as_ref());
        let owner = owner.map(|identity| (identity.uid, identity.gid));
        let mut placed = placeholder::install_for(self.claims, owner)
            .map_err(|error| StartError::Step { step: error.call.to_owned(), errno: error.errno })?;
        if launch.kallsyms {
            if let Err(error) = placeholder::keep_proc_mountable() {
                placed.notes.push(format!("new user namespaces cannot mount procfs: {error}"));
            }
            placeholder::install_kallsyms().map_err(|error| StartError::Step {
                step: format!("--kallsyms: {}", error.call),
                errno: error.errno,
            })?;
        }
        let bpf = filter::build_for(&launch.trace, self.claims)
            .map_err(|error| StartError::Step { step: error.to_string(), errno: Errno::EINVAL })?;
        let argv = Pointers::from(launch.argv.clone());
        let shell: Vec<_> = [c"/bin/sh".to_owned(), launch.program.clone()]
            .into_iter()
            .chain(launch.argv.iter().skip(1).cloned())
            .collect();
        let shell = Pointers::from(shell);
        let environment = Pointers::from(launch.environment.clone());
        if let Some(service) = &launch.service {
            service
                .place_output()
                .and_then(|()| service.take_identity())
                .map_err(|(step, errno)| StartError::Step { step, errno })?;
        }
        let Placeholders { file, description, devices, notes, places: _ } = placed;
        let description: Vec<&dyn AsFd> = description.iter().map(|fd| fd as &dyn AsFd).collect();
        self.tender.send(&TenderEvent::Placed { placeholder: file, devices, notes }, &description)?;
        drop(description);
        self.tender.receive::<TenderOrder>()?;
        for signal in [Signal::SIGPIPE, Signal::SIGCHLD] {
            fork::default_action(signal);
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&launch.mask), None).map_err(step("sigprocmask"))?;
        let listener = crate::sys::filter::install(&bpf)
            .map_err(|errno| StartError::Step { step: installing(errno).to_owned(), errno })?;
        // From here on any system call may be trapped: only stores until the exec, no allocation. The listener is
        // close-on-exec.
        self.words[LISTENER].store(listener as u64 + 1, Ordering::Release);
        let mut errno = fork::exec(&launch.program, &argv, &environment);
        if errno == Errno::ENOEXEC {
            // As execvp(3) does for a script without an interpreter line.
            errno = fork::exec(c"/bin/sh", &shell, &environment);
        }
        self.words[EXEC].store(errno as u64 + 1, Ordering::Release);
        fork::exit_now(126)
    }
}
