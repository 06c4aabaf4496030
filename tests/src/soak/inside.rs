//! The driver: the command of a long-lived broker. It starts act after act, several at a time, and judges
//! each by its exit status.

use super::acts::{Act, Theme};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Concurrent acts.
const AT_A_TIME: usize = 4;
/// Deadline of an act that hangs: an act takes seconds.
const WITHIN: Duration = Duration::from_secs(180);
/// Interval between the driver's checks. A wait would have no deadline.
const LOOK: Duration = Duration::from_millis(20);
/// Exit status of a client that needs something this machine lacks.
const UNAVAILABLE: i32 = 77;
/// `EIO`: a start may fail with it if its worker was killed.
const EIO: i32 = libc::EIO;

/// The results of a driver.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// Acts by the client's name.
    pub acts: BTreeMap<String, u64>,
    /// Acts that this machine does not support.
    pub unavailable: u64,
    /// Rounds of the pattern clients.
    pub pattern_rounds: u64,
    /// Their calls that gave `EIO`.
    pub eios: u64,
    /// What went wrong.
    pub violations: Vec<String>,
}

/// A running act.
struct Running {
    act: Act,
    /// Whether its facts must hold: some need calls that only this theme traces.
    all_traced: bool,
    child: Child,
    start: Instant,
    output: PathBuf,
}

/// Settings of a driver.
#[derive(Clone, Debug)]
pub struct Driver {
    /// Theme of the broker.
    pub theme: Theme,
    /// Duration.
    pub time: Duration,
    /// Random seed.
    pub seed: u64,
    /// Directory of the clients.
    pub clients: PathBuf,
    /// Directory of their output.
    pub output: PathBuf,
}

impl Driver {
    /// Starts acts until the time is over, and waits for the last ones.
    #[must_use]
    pub fn run(&self) -> Done {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let (mut done, mut running) = (Done::default(), Vec::new());
        let (start, mut number) = (Instant::now(), 0);
        while start.elapsed() < self.time || !running.is_empty() {
            while start.elapsed() < self.time && running.len() < AT_A_TIME {
                number += 1;
                let Some(act) = random.choice(self.theme.acts()) else { break };
                match self.start(act, number) {
                    Ok(act) => running.push(act),
                    // A worker died during the exec, which this theme expects.
                    Err(error) if self.theme == Theme::Killed && error.raw_os_error() == Some(EIO) => {}
                    Err(error) => done.violations.push(format!("{}: does not start: {error}", act.join(" "))),
                }
            }
            running.retain_mut(|act| !done.is_over(act));
            std::thread::sleep(LOOK);
        }
        done
    }

    fn start(&self, act: Act, number: u64) -> std::io::Result<Running> {
        let (name, arguments) = act.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
        // The ids of three concurrent brokers do not overlap.
        let id = (number % 0x3fff * 4 + self.theme as u64 + 1).to_string();
        let arguments = arguments.iter().map(|word| if *word == "ID" { id.as_str() } else { word });
        let output = self.output.join(format!("act-{number}"));
        let file = File::create(&output)?;
        let child = Command::new(self.clients.join(name))
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        Ok(Running { act, all_traced: self.theme == Theme::Clients, child, start: Instant::now(), output })
    }
}

/// Returns whether a line of a client's output reports a fact that does not hold.
fn is_denied(line: &str) -> bool {
    line.ends_with(" no") || line.contains("covers nothing")
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

impl Done {
    /// Takes the result of an act that has ended; ends an act that hangs.
    fn is_over(&mut self, act: &mut Running) -> bool {
        let words = act.act.join(" ");
        let status = match act.child.try_wait() {
            Ok(Some(status)) => status,
            Ok(None) if act.start.elapsed() < WITHIN => return false,
            Ok(None) | Err(_) => {
                // It may have ended already.
                let _ = act.child.kill();
                let _ = act.child.wait();
                self.violations.push(format!("{words}: hung, or could not be waited for"));
                return true;
            }
        };
        let printed = text(&act.output);
        match status.code() {
            Some(0) if act.all_traced && printed.lines().any(is_denied) => {
                self.violations.push(format!("{words}: {printed}"));
            }
            Some(0) => self.count(act.act, &printed),
            Some(UNAVAILABLE) => self.unavailable += 1,
            _ => {
                let end: Vec<&str> = printed.lines().rev().take(5).collect();
                self.violations.push(format!("{words}: {status}: {}", end.join(" | ")));
            }
        }
        // A file that is left is removed with its directory.
        let _ = fs::remove_file(&act.output);
        true
    }

    fn count(&mut self, act: Act, printed: &str) {
        let name = act.first().copied().unwrap_or_default();
        *self.acts.entry(name.to_owned()).or_default() += 1;
        if name == "soak_pattern" {
            let mut numbers = printed.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
            self.pattern_rounds += numbers.next().unwrap_or_default();
            self.eios += numbers.next().unwrap_or_default();
        }
    }
}
