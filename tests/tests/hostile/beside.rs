//! A hostile tenant and a quiet one, side by side.

use anyhow::{Result, ensure};
use kcov_tests::report::Report;
use kcov_tests::{Control, Outcome, Run, Running, Session, client, long};
use std::time::Duration;

const GO: u64 = 0;
const READY: u64 = 1;
const LIVES: u64 = 2;
/// Lives of instances in the quiet tenant after the hostile one ended.
const MORE: u64 = 20;
/// Exit status of a client that needs something this machine lacks, such as userfaultfd.
const UNAVAILABLE: i32 = 77;
/// Descriptors that the broker may keep: descriptor tables of 64 threads, pidfds of 256 former owners, and a
/// few.
const CACHES: u64 = 64 + 256 + 16;
/// Memory for those, and for tables that keep the largest size they once needed.
const GROWTH_KIB: u64 = 8 * 1024;

/// The calls that go to a worker, in both tenants.
pub const TRACED: &str = "kcov,getppid";

/// Runs a hostile client with its arguments and the broker's options.
pub fn hostile(words: &[&str], options: &[&str]) -> Result<Run> {
    let (name, arguments) = words.split_first().ok_or_else(|| anyhow::anyhow!("no client"))?;
    let program = client(name)?.into_os_string();
    let run = Run::new([program].into_iter().chain(arguments.iter().map(Into::into))).trace(TRACED);
    // Deadline of a client that hangs. The longest of the long variants takes five minutes on a busy machine.
    let within = Duration::from_secs(if long() { 900 } else { 120 });
    Ok(options.iter().fold(run.within(within), |run, option| run.option(option)))
}

/// The quiet tenant.
pub struct Quiet {
    running: Running,
    control: Control,
    lives: u64,
}

impl Quiet {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let session = Session::new()?;
        let control = Control::new(session.path("control"))?;
        let words = [client("hostile_neighbour")?, control.path().to_path_buf()];
        let mut running = Run::new(words).trace(TRACED).start_in(session)?;
        running.reach(&control, READY, 1)?;
        Ok(Quiet { running, control, lives: 0 })
    }

    /// Waits until it is in the middle of its work.
    pub fn assert_works(&mut self) -> Result<()> {
        self.lives = self.running.reach(&self.control, LIVES, self.lives + MORE)?;
        Ok(())
    }

    /// Asserts that it made progress, keeps working, and saw nothing wrong.
    pub fn assert_undisturbed(mut self) -> Result<()> {
        ensure!(self.control.get(LIVES)? > self.lives, "the quiet tenant made no progress");
        self.assert_works()?;
        self.control.set(GO, 1)?;
        self.running.finish()?.assert_sound()?;
        Ok(())
    }
}

/// Runs both, and asserts that the hostile client found what it expects, that nothing of it is left, that no
/// worker crashed, and that the quiet tenant did not notice.
pub fn beside(words: &[&str], options: &[&str]) -> Result<()> {
    let mut quiet = Quiet::start()?;
    quiet.assert_works()?;
    let outcome = hostile(words, options)?.output()?;
    print!("{}", outcome.stdout);
    quiet.assert_undisturbed()?;
    if outcome.code() == UNAVAILABLE {
        println!("{}: not supported on this machine", words.join(" "));
        outcome.report()?.assert_nothing_left();
        return Ok(());
    }
    assert_nothing_left(&outcome)
}

/// Asserts that the hostile client left nothing. See [`beside`].
#[track_caller]
pub fn assert_nothing_left(outcome: &Outcome) -> Result<()> {
    assert_flat(outcome.assert_sound()?);
    Ok(())
}

#[track_caller]
fn assert_flat(report: &Report) {
    let descriptors = report.open_fds_end.saturating_sub(report.open_fds_start);
    assert!(descriptors <= CACHES, "{descriptors} descriptors more: {report:?}");
    let memory = report.rss_end_kib.saturating_sub(report.rss_start_kib);
    assert!(memory <= GROWTH_KIB, "{memory} KiB more: {report:?}");
}
