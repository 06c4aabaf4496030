//! Requests to the server.

use crate::config::{Config, ConfigErrors, Source, text};
use crate::processes::spawner_client::receive_within;
use crate::service::control::message::{Condition, MAX_ADDED, Reply, Request, Shown, Status};
use crate::service::control::table;
use crate::sys::socket::{Channel, ChannelError};
use anyhow::{Context, bail, ensure};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest time for a reply, in milliseconds. The server itself never blocks.
const REPLY: u16 = 10_000;
/// Interval between two requests while waiting for a tenant.
const LOOK: Duration = Duration::from_millis(20);

/// A connection to the server.
pub(super) struct Server {
    pub(super) channel: Channel,
}

impl Server {
    fn ask(&mut self, request: &Request) -> anyhow::Result<Reply> {
        self.channel.send(request, &[]).map_err(channel_error)?;
        match receive_within(&mut self.channel, REPLY) {
            Ok((reply, _)) => Ok(reply),
            Err(error) => Err(channel_error(error)),
        }
    }

    pub(super) fn list(&mut self) -> anyhow::Result<Vec<Status>> {
        let mut all = Vec::new();
        loop {
            let after = all.last().map_or_else(String::new, |last: &Status| last.name.clone());
            match self.ask(&Request::List { after })? {
                Reply::Tenants { tenants, more } => {
                    let is_end = !more || tenants.is_empty();
                    all.extend(tenants);
                    if is_end {
                        return Ok(all);
                    }
                }
                other => return Err(refusal(other)),
            }
        }
    }

    fn find(&mut self, name: &str) -> anyhow::Result<Option<Shown>> {
        match self.ask(&Request::Status { name: name.to_owned() })? {
            Reply::Tenant { tenant } => Ok(tenant.map(|shown| *shown)),
            other => Err(refusal(other)),
        }
    }

    pub(super) fn shown(&mut self, name: &str) -> anyhow::Result<Shown> {
        self.find(name)?.with_context(|| format!("there is no tenant {name}: see kcov-broker tenant list"))
    }

    pub(super) fn order(&mut self, request: &Request) -> anyhow::Result<u64> {
        match self.ask(request)? {
            Reply::Accepted { starts } => Ok(starts),
            other => Err(refusal(other)),
        }
    }

    /// Adds the tenants of a file. Errors of the text are reported here. A tenant that cannot run on this
    /// machine fails later, as when the service reads its configuration.
    pub(super) fn add(&mut self, path: &Path) -> anyhow::Result<Vec<String>> {
        let text = text::read(path)?;
        ensure!(text.len() <= MAX_ADDED, "{} is longer than {MAX_ADDED} bytes: split it", path.display());
        let source = source(path)?;
        let wrong = |errors: ConfigErrors| anyhow::anyhow!("nothing was added:\n{errors}");
        let config = Config::parse(&text, &source).map_err(wrong)?;
        ensure!(!config.tenants.is_empty(), "{} has no [[tenant]]", source.name);
        match self.ask(&Request::Add { text, file: source.name, directory: source.directory })? {
            Reply::Added { names } => Ok(names),
            other => Err(refusal(other)),
        }
    }

    /// Waits until the added tenants run. The error lists all that do not.
    pub(super) fn wait_all_running(&mut self, names: &[String]) -> anyhow::Result<()> {
        let failed: Vec<_> = names
            .iter()
            .filter_map(|name| self.wait_running(name, 0).err())
            .map(|e| format!("{e:#}"))
            .collect();
        match &failed[..] {
            [] => Ok(()),
            [one] if names.len() == 1 => bail!("{one}"),
            all => {
                bail!("{} added tenants, of which {} do not run:\n{}", names.len(), all.len(), all.join("\n"))
            }
        }
    }

    /// Waits until the tenant runs after more than `starts` starts.
    pub(super) fn wait_running(&mut self, name: &str, starts: u64) -> anyhow::Result<()> {
        /// A start takes milliseconds, but the machine may be very busy.
        const PATIENCE: Duration = Duration::from_secs(120);
        let begin = Instant::now();
        loop {
            let status = self.shown(name)?.status;
            let reason = status
                .message
                .clone()
                .unwrap_or_else(|| format!("its command ended, {}", table::end_of(&status)));
            match status.state {
                _ if status.starts <= starts => {}
                Condition::Running => return Ok(()),
                Condition::Unserved => bail!("{name} runs, but {}", table::UNSERVED),
                // The command may have finished already.
                Condition::Stopped if status.last_status == Some(0) => return Ok(()),
                Condition::Stopped => bail!("{name} was stopped"),
                Condition::Failed | Condition::Waiting => {
                    bail!("{name} did not start, or ended early: {reason}")
                }
                Condition::Starting | Condition::Stopping => {}
            }
            ensure!(begin.elapsed() < PATIENCE, "{name} did not start within {} s", PATIENCE.as_secs());
            std::thread::sleep(LOOK);
        }
    }

    pub(super) fn wait_stopped(&mut self, name: &str) -> anyhow::Result<()> {
        // This ends, because the server kills tenants that do not end.
        loop {
            match self.find(name)?.map(|shown| shown.status.state) {
                None | Some(Condition::Stopped | Condition::Failed) => return Ok(()),
                Some(_) => std::thread::sleep(LOOK),
            }
        }
    }
}

fn source(path: &Path) -> anyhow::Result<Source> {
    if path != Path::new("-") {
        return Ok(Source::file(path));
    }
    let directory = std::env::current_dir().context("cannot find the working directory")?;
    Ok(Source { name: "standard input".to_owned(), directory })
}

fn channel_error(error: ChannelError) -> anyhow::Error {
    match error {
        ChannelError::WouldBlock => {
            anyhow::anyhow!("kcov-broker serve did not answer within {} s", REPLY / 1000)
        }
        ChannelError::Closed => {
            anyhow::anyhow!(
                "kcov-broker serve closed the connection: it is shutting down, or refused this user"
            )
        }
        other => other.into(),
    }
}

fn refusal(reply: Reply) -> anyhow::Error {
    match reply {
        Reply::Refused { message } => anyhow::anyhow!("{message}"),
        other => {
            anyhow::anyhow!("unexpected reply of kcov-broker serve, which may be another version: {other:?}")
        }
    }
}
