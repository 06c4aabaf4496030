//! Tenants: starting them, and handling the events of their runs.

use super::*;
use crate::front::messages::{FrontEvent, FrontOrder};
use crate::launch::OnBrokerDeath;
use crate::service::control::message::Condition;
use nix::sys::signal::Signal;
use tracing::{error, info, warn};

impl Member {
    /// The condition, as shown to operators.
    pub(super) fn condition(&self) -> Condition {
        match self.life.state() {
            State::Queued | State::Starting => Condition::Starting,
            State::Running if self.unserved_since().is_some() => Condition::Unserved,
            State::Running => Condition::Running,
            State::Stopping { .. } => Condition::Stopping,
            State::Waiting { .. } => Condition::Waiting,
            State::Ended { failed: true } => Condition::Failed,
            State::Ended { failed: false } => Condition::Stopped,
        }
    }

    /// When the broker exited, if the command keeps running without it.
    fn unserved_since(&self) -> Option<Duration> {
        let (_, link) = self.link.as_ref().filter(|_| self.life.state() == State::Running)?;
        link.broker_end()
    }

    /// When it entered its condition.
    pub(super) fn since(&self) -> Duration {
        self.unserved_since().unwrap_or(self.life.since())
    }

    /// The pace of an end that an operator requests.
    pub(super) fn pace(&self) -> Pace {
        Pace { grace: self.config.stop_grace, patience: PATIENCE }
    }

    /// Kills the broker of the current run.
    pub(super) fn force(&mut self) {
        if let Some((_, link)) = &mut self.link {
            link.force();
        }
    }

    /// Logs how the run ended, and what happens next.
    fn log_end(&self, now: Duration) {
        let tenant = self.config.name.as_str();
        let outcome = self.life.last().map(|end| &end.outcome).cloned().unwrap_or_default();
        let (status, reason, next) = (outcome.status, outcome.message.as_deref(), self.condition().name());
        let follows = match self.life.state() {
            State::Waiting { until } => format!("and restarts in {:?}", until.saturating_sub(now)),
            State::Queued => "and restarts".to_owned(),
            _ => "and is not restarted".to_owned(),
        };
        match self.condition() {
            Condition::Failed | Condition::Waiting if outcome.is_failure() => {
                warn!(
                    event = "tenant_end",
                    tenant, status, reason, next, "tenant {tenant} failed, {follows}"
                );
            }
            _ => {
                info!(event = "tenant_end", tenant, status, reason, next, "tenant {tenant} ended, {follows}")
            }
        }
    }

    fn act(&mut self, action: Action, now: Duration) {
        let signal = self.config.stop_signal;
        let Some((_, link)) = &mut self.link else { return };
        match action {
            Action::Signal => {
                link.signal(signal, now);
                // A stopped command handles no other signal until it is continued.
                link.order(FrontOrder::Signal(Signal::SIGCONT as i32));
            }
            Action::Kill => {
                let tenant = self.config.name.as_str();
                warn!(
                    event = "tenant_kill",
                    tenant, "tenant {tenant} did not end after its stop signal, and is killed"
                );
                link.order(FrontOrder::Kill);
            }
            Action::Force => link.force(),
        }
    }
}

impl Manager {
    /// Adds a tenant, which is queued for its start. Replaces a tenant with the same name.
    pub(super) fn add(&mut self, config: TenantConfig, configured: bool) {
        let life = Life::new(config.restart, self.now());
        let name = config.name.clone();
        let member = Member { config, configured, leaving: false, life, link: None, uid: None };
        self.members.insert(name, member);
    }

    /// Applies an event to a tenant, and executes the resulting action.
    pub(super) fn step(&mut self, name: &str, event: Event) {
        let now = self.now();
        let Some(member) = self.members.get_mut(name) else { return };
        let was_live = member.life.is_live();
        if let Some(action) = member.life.step(event, now) {
            member.act(action, now);
        }
        if was_live && !member.life.is_live() {
            member.log_end(now);
        }
    }

    /// When each current start began, except slow ones.
    pub(super) fn starting(&self) -> impl Iterator<Item = Duration> {
        let now = self.now();
        let starting = self.members.values().filter(|member| member.life.state() == State::Starting);
        starting.map(|member| member.life.since()).filter(move |since| *since + SLOW_START > now)
    }

    /// Starts queued tenants, up to the maximum number of current starts.
    pub(super) fn launch_queued(&mut self) {
        let room = MAX_STARTS.saturating_sub(self.starting().count());
        let queued = self.members.iter().filter(|(_, member)| member.life.state() == State::Queued);
        let mut queued: Vec<_> = queued.map(|(name, member)| (member.life.since(), name.clone())).collect();
        queued.sort();
        for (_, name) in queued.into_iter().take(room) {
            self.launch(&name);
        }
    }

    fn launch(&mut self, name: &str) {
        let serial = next(&mut self.serial);
        let Some(member) = self.members.get_mut(name) else { return };
        let uid = self.uids.as_mut().map(|uids| uids.take(member.uid, uids::in_use));
        member.uid = uid.flatten();
        let started = match uid {
            Some(None) => Err(anyhow::anyhow!("every uid of the range is in use: extend `uids` in [serve]")),
            Some(Some(uid)) => Link::start(&member.config, member.life.starts(), uid, serial, &self.poller),
            None => Link::start(&member.config, member.life.starts(), 0, serial, &self.poller),
        };
        let failure = match started {
            Ok(link) => {
                member.link = Some((serial, link));
                self.runs.insert(serial, name.to_owned());
                None
            }
            Err(error) => {
                if let (Some(uids), Some(Some(uid))) = (&mut self.uids, uid) {
                    uids.give_back(uid);
                }
                Some(Event::Failed { status: crate::front::BROKER_FAILED, message: format!("{error:#}") })
            }
        };
        self.step(name, Event::Launched);
        if let Some(failure) = failure {
            self.step(name, failure);
            self.step(name, Event::Gone);
        }
    }

    /// Name of the tenant and link of a run.
    fn run_of(&mut self, serial: u32) -> Option<(String, &mut Link)> {
        let name = self.runs.get(&serial)?.clone();
        let (_, link) = self.members.get_mut(&name)?.link.as_mut().filter(|(own, _)| *own == serial)?;
        Some((name, link))
    }

    /// Handles all pending messages of a broker.
    pub(super) fn read_events(&mut self, serial: u32) {
        loop {
            let Some(name) = self.runs.get(&serial).cloned() else { return };
            let Some(member) = self.members.get_mut(&name) else { return };
            let Some((_, link)) = member.link.as_mut().filter(|(own, _)| *own == serial) else { return };
            let Some(event) = link.receive(serial, &self.poller) else { return };
            self.handle_event(&name, event);
        }
    }

    fn handle_event(&mut self, name: &str, event: FrontEvent) {
        match event {
            FrontEvent::Running { .. } => {
                self.step(name, Event::Running);
                let Some(member) = self.members.get(name) else { return };
                let took_ms = member.life.start_time().map(|time| time.as_millis() as u64);
                let broker = member.link.as_ref().and_then(|(_, link)| link.broker());
                info!(event = "tenant_start", tenant = name, broker, took_ms, "tenant {name} runs");
            }
            FrontEvent::Signalled => {}
            FrontEvent::Stopped => info!(
                event = "tenant_stopped",
                tenant = name,
                "the command of tenant {name} was stopped by a signal"
            ),
            FrontEvent::Ended { status, last: _ } => self.step(name, Event::Ended(status)),
            FrontEvent::Failed { message, status } => self.step(name, Event::Failed { status, message }),
        }
    }

    /// A broker has exited. Handles its last messages first.
    pub(super) fn broker_ended(&mut self, serial: u32) {
        self.read_events(serial);
        let now = self.now();
        let Some((name, link)) = self.run_of(serial) else { return };
        link.broker_ended(now);
        let is_gone = link.is_gone();
        let Some(member) = self.members.get(&name) else { return };
        let unexpected = matches!(member.life.state(), State::Starting | State::Running);
        let keeps_running = !is_gone && member.config.options.on_broker_death == OnBrokerDeath::Enosys;
        if unexpected {
            let tenant = name.as_str();
            let follows =
                if keeps_running { "; its traced calls fail with ENOSYS until it is restarted" } else { "" };
            error!(event = "broker_crash", tenant, "the broker of tenant {name} was killed{follows}");
        }
        if unexpected && !is_gone && !keeps_running {
            let message = "its broker was killed".to_owned();
            self.step(&name, Event::Failed { status: crate::front::BROKER_FAILED, message });
        }
        self.settle(serial);
    }

    /// The spawner of a run has exited, after all its processes except the broker.
    pub(super) fn spawner_ended(&mut self, serial: u32) {
        let Some((_, link)) = self.run_of(serial) else { return };
        link.spawner_ended();
        if link.left_orphans() {
            self.end_orphans();
        }
        self.settle(serial);
    }

    /// Ends the children of killed spawners: all children of this process that belong to no run.
    fn end_orphans(&self) {
        let links = self.members.values().filter_map(|member| member.link.as_ref());
        let metrics = self.metrics.as_ref().and_then(MetricsProcess::pid);
        let known: Vec<u32> = links.flat_map(|(_, link)| link.children()).chain(metrics).collect();
        if let Err(survivors) = end_children(None, AGAIN_TIME, |pid| !known.contains(&pid)) {
            warn!(event = "processes_left", "{survivors}");
        }
    }

    /// Forces the ends of tenants whose brokers did not confirm a signal.
    pub(super) fn force_silent(&mut self) {
        let now = self.now();
        for name in self.names() {
            let link = self.members.get_mut(&name).and_then(|member| member.link.as_mut());
            if let Some(broker) = link.and_then(|(_, link)| link.is_silent(now).then(|| link.broker())) {
                let tenant = name.as_str();
                error!(
                    event = "broker_stuck",
                    tenant, broker, "the broker of tenant {name} does not answer; killing it"
                );
                self.step(&name, Event::Silent);
            }
        }
    }

    /// Removes a run if all its processes have ended.
    fn settle(&mut self, serial: u32) {
        let Some((name, link)) = self.run_of(serial) else { return };
        if !link.is_gone() {
            return;
        }
        let uid = link.uid;
        self.uids.iter_mut().for_each(|uids| uids.give_back(uid));
        self.runs.remove(&serial);
        self.members.get_mut(&name).into_iter().for_each(|member| member.link = None);
        self.step(&name, Event::Gone);
    }

    /// Number of tenants by condition, for systemd.
    pub(super) fn summary(&self) -> String {
        let mut counts = BTreeMap::new();
        for member in self.members.values() {
            *counts.entry(member.condition().name()).or_insert(0) += 1;
        }
        let counts: Vec<_> = counts.into_iter().map(|(name, count)| format!("{count} {name}")).collect();
        format!("tenants: {}", if counts.is_empty() { "none".to_owned() } else { counts.join(", ") })
    }
}
