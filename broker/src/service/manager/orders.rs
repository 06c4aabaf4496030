//! Requests of clients of the control socket.

use super::*;
use crate::config::{MAX_TENANTS, Source};
use crate::launch::service::Output;
use crate::service::control::message::{PAGE, Reply, Request, Shown, Status, bounded};
use std::ops::Bound;
use std::path::Path;

impl Manager {
    pub(super) fn serve_client(&mut self, serial: u32) {
        let now = self.now();
        // One request at a time, so that other events are handled in between.
        if let Some(request) = self.clients.request(serial, now) {
            let reply = self.answer(request);
            self.clients.answer(serial, &reply);
        }
    }

    fn answer(&mut self, request: Request) -> Reply {
        match request {
            Request::List { after } => self.page(&after),
            Request::Status { name } => {
                let tenant = self.members.get(&name).map(|member| Box::new(self.shown(&name, member)));
                Reply::Tenant { tenant }
            }
            Request::Add { text, file, directory } => self.add_text(&text, Source { name: file, directory }),
            Request::Stop { name } => self.stop_or_restart(&name, true),
            Request::Restart { name } => self.stop_or_restart(&name, false),
        }
    }

    fn page(&self, after: &str) -> Reply {
        let mut rest = self.members.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        let tenants = rest.by_ref().take(PAGE).map(|(name, member)| self.status(name, member)).collect();
        Reply::Tenants { tenants, more: rest.next().is_some() }
    }

    fn shown(&self, name: &str, member: &Member) -> Shown {
        let TenantConfig { user, options, output, .. } = &member.config;
        let handlers: Vec<_> = options.handlers.iter().map(|handler| handler.to_string_lossy()).collect();
        let path = |path: &Path| bounded(&path.to_string_lossy());
        Shown {
            status: self.status(name, member),
            user: user.as_deref().map(bounded),
            handlers: bounded(&handlers.join(" ")),
            artifacts: options.artifacts.as_deref().map(path),
            output: match output {
                Output::Inherit => "output of the service".to_owned(),
                Output::Null => "/dev/null".to_owned(),
                Output::File(file) => path(file),
            },
        }
    }

    fn status(&self, name: &str, member: &Member) -> Status {
        let Member { config, configured, life, link, leaving: _, uid: _ } = member;
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Status {
            name: name.to_owned(),
            state: member.condition(),
            since_ms: milliseconds(self.now().saturating_sub(member.since())),
            start_ms: life.start_time().map(milliseconds),
            starts: life.starts(),
            restarts: life.restarts(),
            failures: life.failures(),
            next_start_ms: match life.state() {
                State::Waiting { until } => Some(milliseconds(until.saturating_sub(self.now()))),
                _ => None,
            },
            broker: link.as_ref().and_then(|(_, link)| link.broker()),
            uid: link.as_ref().and_then(|(_, link)| link.uid()),
            last_status: life.last().and_then(|end| end.outcome.status),
            message: life.last().and_then(|end| end.outcome.message.as_deref()).map(bounded),
            last_end_ms: life.last().map(|end| milliseconds(self.now().saturating_sub(end.at))),
            last_run_ms: life.last().and_then(|end| end.ran).map(milliseconds),
            command: bounded(&config.command.join(" ")),
            configured: *configured,
        }
    }

    fn add_text(&mut self, text: &str, source: Source) -> Reply {
        let refused = |message: String| Reply::Refused { message: bounded(&message) };
        if self.ending.is_some() {
            return refused("kcov-broker serve is shutting down".to_owned());
        }
        let Config { serve, tenants } = match Config::parse(text, &source) {
            Ok(config) => config,
            Err(errors) => return refused(errors.to_string()),
        };
        if serve != ServeConfig::default() {
            return refused(format!("{}: [serve] cannot be changed in a running service", source.name));
        }
        if self.members.len() + tenants.len() > MAX_TENANTS {
            return refused(format!("too many tenants: the maximum is {MAX_TENANTS}"));
        }
        // The name of a tenant that was added at run time is free again after it has ended.
        let is_taken = |name: &str| {
            self.members.get(name).is_some_and(|member| member.configured || !is_over(member.life.state()))
        };
        if let Some(taken) = tenants.iter().find(|tenant| is_taken(&tenant.name)) {
            return refused(format!(
                "there is already a tenant {}: stop it first, or choose another name",
                taken.name
            ));
        }
        let names = tenants.iter().map(|tenant| tenant.name.clone()).collect();
        tenants.into_iter().for_each(|tenant| self.add(tenant, false));
        Reply::Added { names }
    }

    fn stop_or_restart(&mut self, name: &str, stop: bool) -> Reply {
        if !stop && self.ending.is_some() {
            return Reply::Refused { message: "kcov-broker serve is shutting down".to_owned() };
        }
        let Some(member) = self.members.get_mut(name) else {
            let message = format!("there is no tenant {}: see kcov-broker tenant list", bounded(name));
            return Reply::Refused { message };
        };
        let (pace, starts) = (member.pace(), member.life.starts());
        member.leaving = stop && !member.configured;
        self.step(name, if stop { Event::Stop(pace) } else { Event::Restart(pace) });
        Reply::Accepted { starts }
    }
}

fn is_over(state: State) -> bool {
    matches!(state, State::Ended { .. })
}
