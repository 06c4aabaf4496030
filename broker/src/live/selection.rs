//! Selects the tenants that a monitoring command shows.

use super::catalogue::{self, Catalogue, DIRECTORY, Dead};
use super::tenant_view::TenantView;
use anyhow::{Context, Result};
use nix::unistd::geteuid;

/// Options that select tenants by name and user.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Selection {
    /// Names of tenants, or pids of their brokers [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// Show the tenants of all users. Users other than you and root can publish false data
    #[arg(short, long)]
    pub all: bool,
}

/// The selected tenants, and notes about what was not selected.
#[derive(Debug, Default)]
pub struct Selected {
    /// The tenants.
    pub tenants: Vec<TenantView>,
    /// Notes for the user, one line each.
    pub notes: Vec<String>,
    /// Segments of dead brokers of all users.
    pub dead: Vec<Dead>,
    /// Files that are not valid segments, with the reason.
    pub refused: Vec<(String, String)>,
}

impl Selection {
    /// Finds the selected tenants.
    ///
    /// # Errors
    /// If the segments cannot be listed, or if no tenant has one of the names.
    pub fn find(&self) -> Result<Selected> {
        let selected = self.find_any()?;
        for name in &self.names {
            let has = |tenant: &TenantView| is_called(tenant, name);
            anyhow::ensure!(
                selected.tenants.iter().any(has),
                "no tenant {name} is running: `kcov-broker status{}` lists the running tenants; if {name} belongs to a \
                 service, `kcov-broker tenant status {name}` shows why it is not running",
                if self.all { "" } else { " --all" }
            );
        }
        Ok(selected)
    }

    /// As [`find`](Self::find), but ignores names without a tenant.
    ///
    /// # Errors
    /// If the segments cannot be listed.
    pub fn find_any(&self) -> Result<Selected> {
        let found = catalogue::scan()
            .with_context(|| format!("cannot list the tenants in {DIRECTORY}: mount a tmpfs there"))?;
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
        note(foreign.len(), "of other users: use --all to show them");
        note(private, "of other users are not readable: try as root");
        note(dead.len(), "left behind by killed brokers: remove them with `kcov-broker status --sweep`");
        note(refused.len(), "invalid segment files: see `kcov-broker status --json`");
        if truncated {
            notes.push(format!("more than {} segments: the rest was skipped", catalogue::MOST));
        }
        Selected { tenants, notes, dead, refused }
    }
}

/// Whether `name` is the name of the tenant or the pid of its broker.
fn is_called(tenant: &TenantView, name: &str) -> bool {
    tenant.name.as_str() == name || tenant.is_here && name.parse() == Ok(tenant.pid)
}
