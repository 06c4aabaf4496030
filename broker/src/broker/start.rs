//! Starting a tenant, step by step, up to the exec of its command.

use super::*;
use crate::processes::spawner::message::Start;
use crate::processes::spawner_client::{Spawned, SpawnerClient, end, receive_within};
use crate::sandbox::filter;
use crate::sys::socket;
use crate::tenant::Started;
use crate::tenant::zygote::Zygote;
use kcov_proto::claims::Claims;
use kcov_proto::message::{LoadedModule, ModulePcs, ZygoteReply};

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
fn start_zygote(launch: &Launch, spawner: &mut SpawnerClient) -> Result<(Zygote, Claims), StartError> {
    let (ours, theirs) = socket::pair().map_err(TenantError::from)?;
    let zygote = spawner.start_and_wait(&Start::Zygote, &[&theirs]).map_err(TenantError::from)?;
    drop(theirs);
    let mut channel = Channel::from(ours);
    let program = launch.worker.to_string_lossy().into_owned();
    let (mut loading, mut loaded) = (None, Vec::new());
    loop {
        let patience = if loading.is_some() { LOAD } else { START };
        match receive_within::<ZygoteReply>(&mut channel, patience) {
            Ok((ZygoteReply::Loading { handler }, _)) => loading = Some(handler),
            Ok((ZygoteReply::Loaded { modules }, _)) => {
                report_pcs(&modules);
                loaded = modules;
            }
            Ok((ZygoteReply::Refused { message }, _)) => return Err(TenantError::Handler(message).into()),
            Ok((ZygoteReply::Unjailed { message }, _)) => return Err(TenantError::Jail(message).into()),
            Ok((ZygoteReply::Ready { claims }, _)) => {
                check(&claims)?;
                return Ok((Zygote::ready(zygote, channel, loaded), claims));
            }
            Ok((other, _)) => return Err(TenantError::Zygote(program, format!("sends {other:?}")).into()),
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

/// Reports instrumented code whose PCs do not follow from its binary.
fn report_pcs(modules: &[LoadedModule]) {
    for LoadedModule { path, pcs, .. } in modules {
        match pcs {
            ModulePcs::None | ModulePcs::Home(_) => {}
            ModulePcs::Moved(base) => warn!(
                event = "pcs_moved",
                module = path,
                base = format!("{base:#x}"),
                "another library has the PCs of this one; its PCs change with that library and with the order of loading"
            ),
            ModulePcs::NoRoom => warn!(
                event = "pcs_no_room",
                module = path,
                "not enough PCs are left for its code; its coverage is not recorded"
            ),
        }
    }
}

/// How a zygote ended that did not report that it is ready. `what`: the part of it that was at work. Kills it if it lives.
fn how_it_ended(zygote: &Spawned, error: &ChannelError, what: &str) -> String {
    /// It ends within this many milliseconds after its socket.
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

/// Checks what the handlers claim against the limits.
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
    /// If any step fails. Nothing of the tenant is left once this process ends.
    pub fn start(
        launch: Rc<Launch>,
        mut spawner: SpawnerClient,
        front: Channel,
        front_process: OwnedFd,
        publisher: Option<Publisher>,
    ) -> Result<Self, StartError> {
        let poller = Rc::new(Poller::new().map_err(system("making an epoll instance"))?);
        // First: the tenant's filter and devices follow from what the handlers claim.
        let (zygote, claims) = start_zygote(&launch, &mut spawner)?;

        let (ours, theirs) = socket::pair().map_err(TenantError::from)?;
        let order = Start::Tender { claims: claims.clone() };
        let tender = spawner.start_and_wait(&order, &[&theirs]).map_err(TenantError::from)?;
        drop(theirs);
        let mut tender_channel = Channel::from(ours);
        let (placed, mut descriptions) = tender_event(&mut tender_channel)?;
        let TenderEvent::Placed { placeholder, devices, notes } = placed else {
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
            warn!(%errno, "no SYNC_WAKE_UP before Linux 6.6: a trapped call may take 20 times as long");
        }
        poller.add(&front, Token::Front).map_err(system("epoll_ctl"))?;
        poller.add(&tender_channel, Token::Tender).map_err(system("epoll_ctl"))?;
        let clock = Clock::new().map_err(system("timerfd_create"))?;
        poller.add(&clock, Token::Clock).map_err(system("epoll_ctl"))?;
        let started = Started {
            launch,
            claims,
            spawner,
            tender,
            zygote,
            listener,
            placeholder,
            description: descriptions.pop(),
            devices,
        };
        Ok(Broker {
            tenant: Tenant::new(started, poller.clone())?,
            poller,
            front: Some(front),
            front_process,
            tender: tender_channel,
            status: None,
            gone: false,
            asked: None,
            was_told: false,
            named: false,
            start: Usage::now(),
            last_look: Instant::now(),
            clock,
            publisher,
        })
    }
}
