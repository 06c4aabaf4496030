//! The end of a run: helpers end, late events are taken in, the counters are added up.

use super::*;

impl Broker {
    /// Ends the helpers. Returns the report.
    pub fn finish(&mut self) -> Report {
        self.settle();
        self.tenant.finish();
        self.publish();
        Report::new(&self.tenant.counters(), self.start, Usage::now())
    }

    /// Ends the spawner, and sends the front its last event.
    pub fn close(self) {
        let Broker { tenant, front, tender, status, .. } = self;
        drop(tender);
        tenant.end();
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
