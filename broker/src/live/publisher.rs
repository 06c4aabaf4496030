//! The broker's side: writes its counters into its segment.

use super::identity::{identity, now};
use crate::launch::publication::Publication;
use crate::sys::segment::Segment;
use kcov_proto::quota::Refusals;
use kcov_proto::sections::Sections;
use kcov_proto::tally::Tally;
use kcov_proto::view::{Counts, Identity, Name, Pids, View, ViewWriter, WORDS};
use nix::unistd::getppid;
use tracing::warn;

/// Writes the segment of one tenant.
#[derive(Debug)]
pub struct Publisher {
    writer: ViewWriter<Segment>,
    identity: Identity,
    name: Name,
    front: u32,
    started: u64,
    restarts: u64,
    user: u32,
}

impl Publisher {
    /// Creates the segment. If that fails, logs why and returns `None`: the tenant runs without a live view.
    #[must_use]
    pub fn open(publication: &Publication) -> Option<Self> {
        let made = Segment::create(&publication.segment, WORDS, publication.mode);
        let made = made.inspect_err(|error| {
            warn!(%error, "cannot create the segment: top and status do not show the tenant");
        });
        let publisher = Publisher {
            writer: ViewWriter::new(made.ok()?)?,
            identity: identity(),
            name: publication.name.clone(),
            front: getppid().as_raw().cast_unsigned(),
            started: now(),
            restarts: publication.restarts,
            user: publication.user,
        };
        publisher.publish(
            Pids::default(),
            Counts::default(),
            Tally::default(),
            Refusals::default(),
            Sections::default(),
        );
        Some(publisher)
    }

    /// Writes the current state of the tenant. Replaces `pids.front` and `counts.restarts` with the publisher's own.
    pub fn publish(&self, pids: Pids, counts: Counts, tally: Tally, refusals: Refusals, sections: Sections) {
        let Publisher { writer, identity, name, front, started, restarts, user } = self;
        writer.publish(&View {
            identity: *identity,
            name: name.clone(),
            started: *started,
            beat: now(),
            pids: Pids { front: *front, ..pids },
            counts: Counts { restarts: *restarts, ..counts },
            tally,
            refusals,
            user: Some(*user),
            sections,
        });
    }
}
