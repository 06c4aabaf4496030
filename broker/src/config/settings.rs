//! The settings of a service and of its tenants.

use super::service::ServeConfig;
use super::tenant::TenantConfig;

/// Maximum number of tenants. Each needs half a dozen processes, and as many sockets in the manager.
pub const MAX_TENANTS: usize = 4096;

/// A checked configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Settings of the service as a whole.
    pub serve: ServeConfig,
    /// The tenants, in the order of the file.
    pub tenants: Vec<TenantConfig>,
}
