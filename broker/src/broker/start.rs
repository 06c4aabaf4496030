//! Starting a tenant, step by step, up to the exec of its command.

use super::*;
use crate::kcov::files::Files;
use crate::processes::reader::allowance::Allowance;
use crate::processes::spawner_client::Spawned;
use crate::sandbox::filter;
use crate::tenant::back_off::BackOff;
use kcov_proto::claims::Claims;
use kcov_proto::message::{LoadedModule, ModulePcs};

/// Longest that a step may take, milliseconds.
const START: u16 = 30_000;
/// Longest that a handler may take to be loaded, milliseconds.
const LOAD: u16 = 10_000;

/// The command did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The broker's side failed.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// A step of the tender failed.
    #[error("{step}: {errno}")]
    Step {
        /// Which.
        step: String,
        /// The errno.
        errno: nix::errno::Errno,
    },
    /// A step of the tender took too long.
    #[error("the tenant does not start within {} s", START / 1000)]
    Slow,
    /// The tender is gone.
    #[error("the tender is gone")]
    Tender,
}

fn tender_event(tender: &mut Channel) -> Result<(TenderEvent, Vec<OwnedFd>), StartError> {
    match receive_within::<TenderEvent>(tender, START) {
        Ok((TenderEvent::Failed { step, errno, .. }, _)) => {
            Err(StartError::Step { step, errno: nix::errno::Errno::from_raw(errno) })
        }
        Ok(event) => Ok(event),
        Err(ChannelError::WouldBlock) => Err(StartError::Slow),
        Err(_) => Err(StartError::Tender),
    }
}

/// Starts the zygote and waits for its handlers to be loaded.
fn start_zygote(
    launch: &Launch,
    spawner: &mut SpawnerClient,
) -> Result<(Spawned, Channel, Claims, Vec<LoadedModule>), StartError> {
    let (ours, theirs) = socket::pair().map_err(TenantError::from)?;
    let zygote = spawner.start(&Start::Zygote, &[&theirs]).map_err(TenantError::from)?;
    drop(theirs);
    let mut channel = Channel::from(ours);
    let program = launch.worker.to_string_lossy().into_owned();
    let (mut loading, mut loaded) = (None, Vec::new());
    loop {
        let patience = if loading.is_some() { LOAD } else { START };
        match receive_within::<ZygoteReply>(&mut channel, patience) {
            Ok((ZygoteReply::Loading { handler }, _)) => loading = Some(handler),
            Ok((ZygoteReply::Loaded { modules }, _)) => {
                tell_of_pcs(&modules);
                loaded = modules;
            }
            Ok((ZygoteReply::Refused { message }, _)) => return Err(TenantError::Handler(message).into()),
            Ok((ZygoteReply::Unjailed { message }, _)) => return Err(TenantError::Jail(message).into()),
            Ok((ZygoteReply::Ready { claims }, _)) => {
                check(&claims)?;
                return Ok((zygote, channel, claims, loaded));
            }
            Ok((other, _)) => return Err(TenantError::Zygote(program, format!("says {other:?}")).into()),
            Err(error) => {
                return Err(match loading {
                    Some(handler) => {
                        let end = how_it_ended(&zygote, &error, " the worker program");
                        TenantError::Handler(format!("the handler {handler}, while loaded, {end}"))
                    }
                    None => TenantError::Zygote(program, how_it_ended(&zygote, &error, "")),
                }
                .into());
            }
        }
    }
}

/// Says where the PCs of instrumented code are not those that follow from its binary.
fn tell_of_pcs(modules: &[LoadedModule]) {
    for LoadedModule { path, pcs, .. } in modules {
        match pcs {
            ModulePcs::None | ModulePcs::Home(_) => {}
            ModulePcs::Moved(base) => warn!(
                event = "pcs_moved",
                module = path,
                base = format!("{base:#x}"),
                "a library that is loaded before has its PCs: they change when that does, or the order"
            ),
            ModulePcs::NoRoom => warn!(
                event = "pcs_no_room",
                module = path,
                "it has more code than there are PCs left: what it covers is not recorded"
            ),
        }
    }
}

/// What became of a zygote that does not say that it is ready, and of `what` in it. It is dead afterwards.
fn how_it_ended(zygote: &Spawned, error: &ChannelError, what: &str) -> String {
    /// Its end follows that of its socket within this many milliseconds.
    const END: u16 = 2000;
    let hangs = matches!(error, ChannelError::WouldBlock);
    let ended = !hangs && pidfd::wait_dead(zygote.pidfd.as_fd(), END);
    let status = ended.then(|| zygote.end_status()).flatten();
    end(zygote);
    match (error, status) {
        (ChannelError::WouldBlock, _) => format!("does not return within {} s", LOAD / 1000),
        (_, Some(status)) if status & 0x7f != 0 => {
            let signal = Signal::try_from(status & 0x7f).map_or("an unknown signal", Signal::as_str);
            format!("ended{what} by {signal}")
        }
        (_, Some(status)) => format!("ended{what} with status {}", status >> 8 & 0xff),
        (_, None) => format!("ended{what} before it was ready"),
    }
}

/// Holds what the handlers claim against what can be had.
fn check(claims: &Claims) -> Result<(), StartError> {
    let bounded = claims.check().map_err(|error| error.to_string());
    bounded
        .and_then(|()| filter::check(claims).map_err(|error| format!("a handler claims too much: {error}")))
        .map_err(|message| TenantError::Handler(message).into())
}

impl Broker {
    /// Starts the tenant, up to the exec of the command.
    ///
    /// # Errors
    /// If any step fails; nothing of it is left then, once this process ends.
    pub fn start(
        launch: Rc<Launch>,
        mut spawner: SpawnerClient,
        front: Channel,
        front_process: OwnedFd,
        publisher: Option<Publisher>,
    ) -> Result<Self, StartError> {
        let poller = Rc::new(Poller::new().map_err(system("making an epoll instance"))?);
        // First: the tenant's filter and its devices follow from what the handlers claim.
        let (zygote, zygote_channel, claims, modules) = start_zygote(&launch, &mut spawner)?;

        let (ours, theirs) = socket::pair().map_err(TenantError::from)?;
        let order = Start::Tender { claims: claims.clone() };
        let tender = spawner.start(&order, &[&theirs]).map_err(TenantError::from)?;
        drop(theirs);
        let mut tender_channel = Channel::from(ours);
        let (placed, _) = tender_event(&mut tender_channel)?;
        let TenderEvent::Placed { placeholders, devices, notes } = placed else {
            return Err(StartError::Tender);
        };
        for note in notes {
            debug!("placeholder: {note}");
        }

        tender_channel.send(&TenderOrder::Go, &[]).map_err(TenantError::from)?;
        let (event, mut fds) = tender_event(&mut tender_channel)?;
        let (TenderEvent::Listening, Some(listener)) = (event, fds.pop()) else {
            return Err(StartError::Tender);
        };
        if let Err(errno) = crate::sys::filter::set_sync_wake_up(listener.as_fd()) {
            warn!(%errno, "no SYNC_WAKE_UP (Linux 6.6): round trips may take 20 times as long");
        }
        let (registry, roster) =
            Registry::new(launch.quotas, launch.extensions).map_err(system("making the registry"))?;

        let allowance = Allowance::new(&launch.quotas).map_err(system("making an allowance"))?;
        let files = claims.devices().next().map(|_| Files::new()).transpose();
        let files = files.map_err(system("making the table of files"))?;

        poller.add(&front, Token::Front).map_err(system("watching the front"))?;
        poller.add(&tender_channel, Token::Tender).map_err(system("watching the tender"))?;
        poller.add(&zygote_channel, Token::Zygote).map_err(system("watching the zygote"))?;
        poller.add(&spawner, Token::Spawner).map_err(system("watching the spawner"))?;
        let clock = Clock::new().map_err(system("timerfd_create"))?;
        poller.add(&clock, Token::Clock).map_err(system("watching the clock"))?;
        let deadline = launch.deadline;
        let back_off = BackOff::new(launch.quotas.restart_delay, launch.quotas.crash_rate, launch.deadline);
        let mut tenant = Tenant {
            launch,
            poller: poller.clone(),
            spawner,
            tender,
            placeholders,
            devices,
            claims,
            modules,
            keeper: Default::default(),
            files,
            retries: Default::default(),
            untaken: Default::default(),
            unanswered: Default::default(),
            overdue: Default::default(),
            listener,
            registry,
            roster,
            zygote,
            zygote_channel,
            zygote_ready: true,
            workers: Default::default(),
            expected: None,
            next_worker: 0,
            readers: Default::default(),
            next_reader: 0,
            last_id: None,
            stillborn: Default::default(),
            back_off,
            start_due: None,
            counters: Counters::default(),
            allowance,
            silent: Default::default(),
            collisions: 0,
            refusal_log: Default::default(),
            crash_log: Default::default(),
            tables: Tables::default(),
        };
        tenant.start_worker()?;
        Ok(Broker {
            tenant,
            poller,
            front: Some(front),
            front_process,
            tender: tender_channel,
            status: None,
            gone: false,
            start: Usage::now(),
            deadline,
            last_tick: Instant::now(),
            clock,
            publisher,
        })
    }
}
