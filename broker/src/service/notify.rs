//! What the service manager is told (`sd_notify(3)`), where there is one.

use sd_notify::NotifyState;
use std::time::Duration;

/// Longest text of a state.
#[derive(Debug, Default)]
pub struct Notifier {
    told: String,
    watchdog: Option<Duration>,
    fed: Duration,
}

impl Notifier {
    /// As the environment says.
    #[must_use]
    pub fn new() -> Self {
        Notifier { told: String::new(), watchdog: sd_notify::watchdog_enabled(), fed: Duration::ZERO }
    }

    /// Tells states. A service manager that does not listen misses them.
    pub fn tell(&self, states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!(%error, "the service manager does not listen");
        }
    }

    /// Tells how it is, if that has changed.
    pub fn status(&mut self, status: String) {
        if self.told != status {
            self.tell(&[NotifyState::Status(&status)]);
            self.told = status;
        }
    }

    /// Feeds the watchdog, twice as often as it asks for.
    pub fn time(&mut self, now: Duration) {
        if self.due().is_some_and(|due| due <= now) {
            self.fed = now;
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    /// When the watchdog is hungry next.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        Some(self.fed + self.watchdog? / 2)
    }
}
