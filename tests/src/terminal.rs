//! A pseudo-terminal with a session leader on it, driven like a user at a keyboard.

use crate::session::Session;
use crate::wait::until;
use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Deadline for text to appear on the terminal.
const WITHIN: Duration = Duration::from_secs(60);

/// The user's side of the terminal.
#[derive(Debug)]
pub struct Terminal {
    /// The session that all programs on the terminal belong to.
    pub session: Session,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    /// Bytes of the screen that `expect` has passed.
    seen: usize,
    leader: Child,
}

impl Terminal {
    /// Starts `command` as leader of a new session, with the terminal as its controlling terminal.
    ///
    /// # Errors
    /// When no terminal can be opened, or the command does not start.
    pub fn start(session: Session, command: &[&str]) -> Result<Self> {
        let (mut output, terminal) = pair().context("a pseudo-terminal")?;
        // setsid creates the session and takes the terminal: job control needs both.
        let mut line = session.command("setsid");
        line.args(["--ctty", "--wait"]).args(command);
        let leader = attach(&mut line, &terminal)?;
        let keyboard = output.try_clone()?;
        let screen = Arc::default();
        let lines = Arc::clone(&screen);
        thread::spawn(move || copy(&mut output, &lines));
        Ok(Terminal { session, keyboard, screen, seen: 0, leader })
    }

    /// Presses these keys.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.keyboard.write_all(keys.as_bytes())?)
    }

    /// Waits until `text` appears after the text of the last call. Returns the output up to its end.
    ///
    /// # Errors
    /// When it does not appear; the message shows the screen.
    pub fn expect(&mut self, text: &str) -> Result<String> {
        let found = until(&format!("{text:?} on the terminal"), WITHIN, || {
            let screen = self.screen();
            let rest = screen.get(self.seen..)?;
            rest.find(text).map(|at| rest[..at + text.len()].to_owned())
        });
        let found = found.with_context(|| format!("the screen:\n{}", self.screen()))?;
        self.seen += found.len();
        Ok(found)
    }

    /// Everything that appeared so far.
    #[must_use]
    pub fn screen(&self) -> String {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.session.kill();
        // Reaps the leader, which is dead.
        let _ = self.leader.wait();
    }
}

/// Opens both ends with close-on-exec: a copy in a child of another test would keep the terminal alive.
fn pair() -> Result<(File, File)> {
    let user = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    grantpt(&user)?;
    unlockpt(&user)?;
    let terminal =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(ptsname_r(&user)?)?;
    Ok((File::from(OwnedFd::from(user)), terminal))
}

fn attach(line: &mut Command, terminal: &File) -> Result<Child> {
    line.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal.try_clone()?);
    line.spawn().with_context(|| format!("start of {line:?}"))
}

/// Copies until EIO, which means that the last process has closed the terminal.
fn copy(output: &mut File, screen: &Mutex<String>) {
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = output.read(&mut bytes) {
        let text = String::from_utf8_lossy(&bytes[..read]);
        screen.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
    }
}
