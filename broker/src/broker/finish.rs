//! The end of a run: helpers end, what is still on its way is taken in, the counts are added up.

use super::*;
use crate::kcov::files::Files;

impl Broker {
    /// Ends the helpers. Returns the report.
    pub fn finish(&mut self) -> Report {
        let workers: Vec<u32> = self.tenant.workers.keys().copied().collect();
        self.settle_registry();
        for index in workers {
            if let Some(mut worker) = self.tenant.workers.remove(&index) {
                worker.kill("the run is over");
                let _ = pidfd::wait_dead(worker.pidfd.as_fd(), 1000);
                self.poller.remove(&worker.channel);
                self.tenant.count(&worker);
            }
        }
        self.tenant.finish_artifacts();
        self.tenant.readers.clear();
        end(&self.tenant.zygote);
        // What is kept for speed alone is not counted.
        self.tenant.tables.clear();
        self.tenant.registry.forget_idle();
        self.tenant.tell_last_refusals();
        self.tenant.tell_last_crashes();
        self.publish();
        self.report()
    }

    /// Lets go of the helpers and gives the front the last word.
    pub fn say_farewell(self) {
        let Broker { tenant, front, tender, status, .. } = self;
        drop(tender);
        tenant.end();
        if let (Some(mut front), Some(status)) = (front, status) {
            // A front that is gone needs no telling.
            let _ = front.try_send(&FrontEvent::Ended { status, last: true }, &[]);
        }
    }

    /// After the last process: its threads' ends and its descriptors' closes are on their way to us.
    pub(super) fn settle_registry(&mut self) {
        const PATIENCE: Duration = Duration::from_millis(500);
        let until = Instant::now() + PATIENCE;
        let mut ready = Vec::new();
        let live =
            |tenant: &Tenant| tenant.registry.instances() + tenant.files.as_ref().map_or(0, Files::live);
        while live(&self.tenant) > 0 && Instant::now() < until {
            if self.poller.wait(Some(Duration::from_millis(1)), &mut ready).is_err() {
                return;
            }
            for token in ready.drain(..) {
                if let Token::Owner(tid) = token {
                    self.tenant.registry.owner_died(tid);
                }
            }
            // An owner that died in an `execve` is given up only here.
            self.tenant.registry.sweep_execs();
            self.tenant.registry.sweep(true);
            self.tenant.drop_gone();
            self.tenant.sweep_files(true);
        }
    }

    pub(super) fn report(&self) -> Report {
        let Counters {
            assists,
            workers_started,
            worker_crashes,
            retries,
            zygote_restarts,
            refusals: _,
            starts_delayed,
            artifacts,
            artifacts_refused,
            tally,
        } = self.tenant.counters;
        let (registry, refusals) = (&self.tenant.registry, self.tenant.refusals());
        let end = Usage::now();
        Report {
            instances_live: registry.instances(),
            instances_opened: registry.opened(),
            files_live: self.tenant.files.as_ref().map_or(0, Files::live),
            files_opened: self.tenant.files.as_ref().map_or(0, Files::opened),
            handles_live: registry.handles(),
            tasks_live: registry.owners(),
            arena_bytes: registry.bytes(),
            assists,
            worker_crashes,
            retries,
            workers_started,
            zygote_restarts,
            quota_refusals: refusals.sum(),
            quota_refusals_by_quota: refusals,
            starts_delayed,
            artifacts,
            artifacts_refused,
            tally,
            open_fds_start: self.start.fds,
            open_fds_end: end.fds,
            rss_start_kib: self.start.rss_kib,
            rss_end_kib: end.rss_kib,
        }
    }
}
