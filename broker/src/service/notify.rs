//! Notifications to systemd (`sd_notify(3)`), if it started the service.

use sd_notify::NotifyState;
use std::time::Duration;

/// The notification socket and the watchdog.
#[derive(Debug, Default)]
pub struct Notifier {
    /// The last status that was sent.
    status: String,
    watchdog: Option<Duration>,
    /// When the watchdog was fed.
    fed: Duration,
}

impl Notifier {
    /// A notifier with the settings of the environment.
    #[must_use]
    pub fn new() -> Self {
        Notifier { status: String::new(), watchdog: sd_notify::watchdog_enabled(), fed: Duration::ZERO }
    }

    /// Sends states. Errors are ignored: the service does not depend on systemd.
    pub fn notify(&self, states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!(%error, "cannot notify systemd");
        }
    }

    /// Sends the status if it has changed.
    pub fn set_status(&mut self, status: String) {
        if self.status != status {
            self.notify(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// Feeds the watchdog if it is due: twice as often as required.
    pub fn feed_watchdog(&mut self, now: Duration) {
        if self.due().is_some_and(|due| due <= now) {
            self.fed = now;
            self.notify(&[NotifyState::Watchdog]);
        }
    }

    /// When the watchdog is fed next.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        Some(self.fed + self.watchdog? / 2)
    }
}
