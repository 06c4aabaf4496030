//! Bounds each kind of event, so that a tenant or a worker that causes one again and again cannot fill a disk.
//!
//! A kind is a place in the source code. `worker_crash`, `reader_stuck` and `quota` have bounds of their own in
//! [`crate::tenant::log`], which are never above these.

use super::bound::{Bound, Limit};
use std::collections::HashMap;
use std::fmt;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, warn};
use tracing_subscriber::layer::{Context, Filter};

/// Bound of warnings and errors.
const PROBLEMS: Limit = Limit { burst: 512, interval: Duration::from_secs(1) };
/// Bound of other events, which are only logged with `-v`.
const DETAILS: Limit = Limit { burst: 65_536, interval: Duration::from_millis(1) };

/// The kinds of events so far, with the name of each that was left out once.
static KINDS: LazyLock<Mutex<HashMap<Identifier, Kind>>> = LazyLock::new(Mutex::default);

#[derive(Debug, Default)]
struct Kind {
    bound: Bound,
    name: String,
}

fn kinds() -> MutexGuard<'static, HashMap<Identifier, Kind>> {
    // A panic while the lock was held leaves a count that is off by one.
    KINDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Logs how many events were left out since the last such line. `all`: also within the pause.
pub fn report_left_out(all: bool) {
    let now = Instant::now();
    let due: Vec<(String, u64)> = kinds()
        .values_mut()
        .filter_map(|kind| Some((kind.name.clone(), kind.bound.others.take(now, all)?)))
        .collect();
    for (of, times) in due {
        warn!(event = "left_out", of, times, "too many events of one kind: not all were logged");
    }
}

/// Leaves out events beyond their bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounded;

impl<S> Filter<S> for Bounded {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::always()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let limit = if *event.metadata().level() <= Level::WARN { PROBLEMS } else { DETAILS };
        let mut kinds = kinds();
        let kind = kinds.entry(event.metadata().callsite()).or_default();
        let has_line = kind.bound.add(Instant::now(), limit);
        if !has_line && kind.name.is_empty() {
            event.record(&mut EventName(&mut kind.name));
        }
        has_line
    }
}

/// Finds the name of an event: its field `event`, else its message.
struct EventName<'a>(&'a mut String);

impl Visit for EventName<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            value.clone_into(self.0);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" && self.0.is_empty() {
            *self.0 = format!("{value:?}");
        }
    }
}
