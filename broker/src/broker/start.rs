//! Starting a tenant, step by step, up to the exec of its command.

use super::*;

/// Longest that a step may take, milliseconds.
const START: u16 = 30_000;

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
    ) -> Result<Self, StartError> {
        let poller = Rc::new(Poller::new().map_err(system("making an epoll instance"))?);
        let (ours, theirs) = socket::pair().map_err(TenantError::from)?;
        let tender = spawner.start(&Start::Tender, &[&theirs]).map_err(TenantError::from)?;
        drop(theirs);
        let mut tender_channel = Channel::from(ours);
        let (placed, _) = tender_event(&mut tender_channel)?;
        let TenderEvent::Placed { placeholders, notes } = placed else { return Err(StartError::Tender) };
        for note in notes {
            debug!("placeholder: {note}");
        }

        let (ours, theirs) = socket::pair().map_err(TenantError::from)?;
        let zygote = spawner.start(&Start::Zygote, &[&theirs]).map_err(TenantError::from)?;
        drop(theirs);
        let mut zygote_channel = Channel::from(ours);
        let program = launch.worker.to_string_lossy().into_owned();
        match receive_within::<ZygoteReply>(&mut zygote_channel, START) {
            Ok((ZygoteReply::Ready, _)) => {}
            Ok((other, _)) => return Err(TenantError::Zygote(program, format!("it says {other:?}")).into()),
            Err(error) => return Err(TenantError::Zygote(program, error.to_string()).into()),
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

        poller.add(&front, Token::Front).map_err(system("watching the front"))?;
        poller.add(&tender_channel, Token::Tender).map_err(system("watching the tender"))?;
        poller.add(&zygote_channel, Token::Zygote).map_err(system("watching the zygote"))?;
        poller.add(&spawner, Token::Spawner).map_err(system("watching the spawner"))?;
        let clock = Clock::new().map_err(system("timerfd_create"))?;
        poller.add(&clock, Token::Clock).map_err(system("watching the clock"))?;
        let deadline = launch.deadline;
        let mut tenant = Tenant {
            launch,
            poller: poller.clone(),
            spawner,
            tender,
            placeholders,
            listener,
            registry,
            roster,
            zygote,
            zygote_channel,
            workers: Default::default(),
            expected: None,
            next_worker: 0,
            readers: Default::default(),
            next_reader: 0,
            stillborn: 0,
            counters: Counters::default(),
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
        })
    }
}
