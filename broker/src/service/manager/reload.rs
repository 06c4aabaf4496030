//! Reloading the configuration, on `SIGHUP`.

use super::*;
use crate::config::{ConfigErrors, Source, text};
use std::collections::BTreeSet;

impl Manager {
    /// Reloads the file. If it has errors, they are logged and nothing changes.
    pub(super) fn reload(&mut self) {
        let Some(file) = self.file.clone().filter(|_| self.ending.is_none()) else { return };
        let since = NotifyState::monotonic_usec_now().ok();
        let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(since).collect();
        self.notifier.notify(&states);
        let config = text::read(&file).and_then(|text| Config::parse(&text, &Source::file(&file)));
        match config {
            Ok(config) => self.apply(config),
            Err(ConfigErrors(errors)) => {
                warn!(event = "service_reload", "the configuration has errors; nothing was changed");
                for error in errors {
                    warn!(event = "service_reload", "{error}");
                }
            }
        }
        self.notifier.notify(&[NotifyState::Ready]);
    }

    fn apply(&mut self, config: Config) {
        let Config { serve, tenants } = config;
        let expected = ServeConfig { shutdown: serve.shutdown, ..self.serve.clone() };
        if serve != expected {
            warn!(
                event = "service_reload",
                "changes of [serve], except `shutdown`, take effect when the service is restarted"
            );
        }
        self.serve.shutdown = serve.shutdown;
        let named: BTreeSet<_> = tenants.iter().map(|tenant| tenant.name.clone()).collect();
        let (mut added, mut changed, mut removed) = (0, 0, 0);
        for (name, member) in &mut self.members {
            if member.configured && !named.contains(name) {
                member.leaving = true;
                removed += 1;
            }
        }
        for name in self.names() {
            let leaving = self.members.get(&name).filter(|member| member.leaving).map(Member::pace);
            leaving.into_iter().for_each(|pace| self.step(&name, Event::Stop(pace)));
        }
        for tenant in tenants {
            if self.members.contains_key(&tenant.name) {
                changed += u32::from(self.change(tenant));
            } else {
                added += 1;
                self.add(tenant, true);
            }
        }
        info!(event = "service_reload", added, changed, removed, "the configuration was reloaded");
    }

    /// Replaces the configuration of a tenant, and restarts it if it changed. Returns whether it changed.
    fn change(&mut self, tenant: TenantConfig) -> bool {
        let Some(member) = self.members.get_mut(&tenant.name) else { return false };
        let is_same = member.config.is_same(&tenant) && !member.leaving;
        let (name, pace) = (tenant.name.clone(), member.pace());
        // A tenant that an operator stopped stays stopped.
        let was_stopped = member.life.state() == State::Ended { failed: false } && !member.leaving;
        (member.configured, member.leaving) = (true, false);
        member.life.set_policy(tenant.restart);
        member.config = tenant;
        if !is_same && !was_stopped {
            self.step(&name, Event::Restart(pace));
        }
        !is_same
    }
}
