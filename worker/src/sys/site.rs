//! The link section with the sites.

use kcov_proto::site::{self, Site};
use std::ptr;

/// Puts the static of a site in the link section, which holds nothing else.
#[doc(hidden)]
#[macro_export]
macro_rules! kcov_linked_site {
    ($site:item) => {
        #[used]
        #[unsafe(link_section = "kcov_sites")]
        $site
    };
}
pub(crate) use kcov_linked_site as linked_site;

// SAFETY: the linker defines this symbol at the start of the section, which exists because callers of this
// file put sites in it. Only its address is used.
unsafe extern "C" {
    #[link_name = "__start_kcov_sites"]
    safe static SITES: Site;
    #[link_name = "__stop_kcov_sites"]
    safe static SITES_STOP: Site;
}

/// Returns the number of sites in the link section.
#[must_use]
pub fn sites() -> u64 {
    let bytes = (&raw const SITES_STOP).addr() - (&raw const SITES).addr();
    ((bytes / Site::BYTES) as u64).min(SITES_MOST)
}

/// Returns the PC of a site in the link section, by the rule of [`kcov_proto::site`].
#[inline]
#[must_use]
pub fn pc_of_site(site: &'static Site) -> u64 {
    let bytes = ptr::from_ref(site).addr().wrapping_sub((&raw const SITES).addr());
    // A site outside of the section, which no macro makes, gets a wrong PC that clients still accept.
    site::pc_of_index((bytes / Site::BYTES) as u64 % SITES_MOST)
}

/// Number of sites that have their own PC: a power of two, so that the bound is one instruction.
const SITES_MOST: u64 = 1 << 22;
const _: () = assert!(site::pc_of_index(SITES_MOST) <= site::SITE_END);
