//! Which tenants a command is about.

use super::catalogue::{self, Catalogue};
use super::tenant::Tenant;
use anyhow::{Context, Result};
use nix::unistd::geteuid;

/// Tenants by name and user.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Selection {
    /// Names of tenants, or process ids of their brokers [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// Show the tenants of all users: what those of others than you and root show may be invented
    #[arg(short, long)]
    pub all: bool,
}

/// Tenants that were selected, and what is to be said beside them.
#[derive(Debug, Default)]
pub struct Selected {
    /// They.
    pub tenants: Vec<Tenant>,
    /// Sentences for the user.
    pub notes: Vec<String>,
    /// The same by reason, for files that are no segments.
    pub refused: Vec<(String, String)>,
}

impl Selection {
    /// Looks at all segments and picks.
    ///
    /// # Errors
    /// If there is no way to look, or a name that no tenant has.
    pub fn find(&self) -> Result<Selected> {
        let selected = self.find_any()?;
        for name in &self.names {
            let has = |tenant: &Tenant| is_called(tenant, name);
            anyhow::ensure!(
                selected.tenants.iter().any(has),
                "no tenant {name} runs: `kcov-broker status` lists those that do{}; of one of a service that waits or \
                 has failed `kcov-broker tenant status {name}` tells why",
                if self.all { "" } else { ", with --all those of other users too" }
            );
        }
        Ok(selected)
    }

    /// The same, also if there is no tenant of some name.
    ///
    /// # Errors
    /// If there is no way to look.
    pub fn find_any(&self) -> Result<Selected> {
        let found = catalogue::scan().with_context(|| {
            format!("cannot look for tenants in {}: mount a tmpfs there", super::DIRECTORY)
        })?;
        Ok(self.pick(found))
    }

    fn pick(&self, found: Catalogue) -> Selected {
        let Catalogue { tenants, dead, refused, private, truncated } = found;
        let own = geteuid().as_raw();
        let (mut tenants, foreign): (Vec<_>, Vec<_>) =
            tenants.into_iter().partition(|tenant| self.all || tenant.uid == own || tenant.uid == 0);
        if !self.names.is_empty() {
            tenants.retain(|tenant| self.names.iter().any(|name| is_called(tenant, name)));
        }
        let mut notes = Vec::new();
        let mut note = |count: usize, text: &str| {
            if count > 0 {
                notes.push(format!("{count} {text}"));
            }
        };
        note(foreign.len(), "of other users: --all shows them");
        note(private, "of other users may not be read: be root");
        note(dead.len(), "left by brokers that were killed: `kcov-broker status --sweep` removes them");
        note(refused.len(), "files that are no segments, see `kcov-broker status --json`");
        if truncated {
            notes.push(format!("more than {} segments: the others were not looked at", catalogue::MOST));
        }
        Selected { tenants, notes, refused }
    }
}

/// Whether a user means `tenant` by `name`.
fn is_called(tenant: &Tenant, name: &str) -> bool {
    tenant.name.as_str() == name || name.parse() == Ok(tenant.pid)
}
