//! The end of a run: helpers end, late events are taken in, the counters are added up.

use super::*;

impl Broker {
    /// Ends the helpers. Returns the report.
    pub fn finish(&mut self) -> Report {
        /// Longest that the end waits for one artifact.
        const ARTIFACT: Duration = Duration::from_secs(30);
        /// The same after the front asked for the end.
        const ARTIFACT_WHEN_TOLD: Duration = Duration::from_millis(500);
        self.settle();
        self.tenant.finish(if self.was_told { ARTIFACT_WHEN_TOLD } else { ARTIFACT });
        self.publish();
        Report::new(&self.tenant.counters(), self.start, Usage::now())
    }

    /// Ends the spawner, and sends the front its last event.
    pub fn close(self) {
        let Broker { tenant, mut front, tender, status, named, .. } = self;
        drop(tender);
        if let Err(survivors) = tenant.end()
            && !named
        {
            let message = survivors.to_string();
            // The command has its own status, whatever is left of its helpers.
            let failed =
                FrontEvent::Failed { message, status: status.unwrap_or(crate::front::BROKER_FAILED) };
            front.iter_mut().for_each(|front| drop(front.try_send(&failed, &[])));
        }
        if let (Some(mut front), Some(status)) = (front, status) {
            // A front that is gone needs no event.
            let _ = front.try_send(&FrontEvent::Ended { status, last: true }, &[]);
        }
    }

    /// After the last process: waits for the ends of its threads and the closes of its descriptors, which are on their
    /// way.
    fn settle(&mut self) {
        const PATIENCE: Duration = Duration::from_millis(500);
        let until = Instant::now() + PATIENCE;
        let mut ready = Vec::new();
        while !self.tenant.has_no_instances() && Instant::now() < until {
            if self.poller.wait(Some(Duration::from_millis(1)), &mut ready).is_err() {
                return;
            }
            let owners = ready.drain(..).filter_map(|token| match token {
                Token::Owner(tid) => Some(tid),
                _ => None,
            });
            self.tenant.sweep_last(owners);
        }
    }
}
