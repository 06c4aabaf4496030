//! Names an artifact's folder after the crash location in the code, independent of load addresses. A hang is named after
//! the request that the handler was processing.

use super::{End, place_of};
use kcov_proto::journal::{Event, Journal};
use kcov_proto::message::LoadedModule;
use kcov_proto::site::fnv1a;
use std::collections::{BTreeSet, HashMap};

/// An address that is on the stack this many times belongs to a recursion. Its depth does not affect the name.
const RECURSION: usize = 3;

/// Returns the folder name for a worker that ended this way. `libraries` are the paths of handler libraries: the frames
/// that called into them do not affect the name.
#[must_use]
pub fn name(end: End, journal: &Journal, modules: &[LoadedModule], libraries: &[String]) -> String {
    let mut key = end.name();
    let addresses = addresses(end, journal, modules, libraries);
    if addresses.is_empty() {
        key += &format!(" {}", request(journal));
    }
    for address in addresses {
        match place_of(address, modules) {
            Some((module, offset)) => key += &format!(" {}+{offset:x}", module.path),
            None => key += " ?",
        }
    }
    format!("{}-{:016x}", end.name(), fnv1a(key.as_bytes()))
}

/// The addresses that identify the crash location.
fn addresses(end: End, journal: &Journal, modules: &[LoadedModule], libraries: &[String]) -> Vec<u64> {
    let stack = in_libraries(&journal.stack, modules, libraries);
    if end == End::Hang {
        // The stack of a hanging handler is that of a random moment.
        return Vec::new();
    }
    if recurses(stack) {
        let repeated: BTreeSet<u64> = stack.iter().skip(1).copied().collect();
        return repeated.into_iter().collect();
    }
    stack.to_vec()
}

/// The frames up to the outermost one in a handler library; all frames if there is none.
fn in_libraries<'a>(stack: &'a [u64], modules: &[LoadedModule], libraries: &[String]) -> &'a [u64] {
    let is_library = |address: &u64| {
        place_of(*address, modules).is_some_and(|(module, _)| libraries.contains(&module.path))
    };
    stack.iter().rposition(is_library).map_or(stack, |outermost| &stack[..=outermost])
}

fn recurses(stack: &[u64]) -> bool {
    let mut times: HashMap<u64, usize> = HashMap::new();
    stack.iter().any(|&address| {
        let seen = times.entry(address).or_default();
        *seen += 1;
        *seen >= RECURSION
    })
}

/// The request that the handler was processing.
fn request(journal: &Journal) -> String {
    let last = journal.events.iter().rev().find(|event| event.begins());
    match last {
        Some(Event::Call { abi, number, .. }) => format!("call {abi} {number}"),
        Some(Event::Open { device, .. }) => format!("open {device}"),
        Some(Event::Ioctl { request, .. }) => format!("ioctl {request:x}"),
        Some(Event::Closed { .. }) => "close".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcov_proto::message::ModulePcs;

    const CRASH: End = End::Signal(11);

    fn modules(start: u64) -> Vec<LoadedModule> {
        let module = |path: &str, start| LoadedModule {
            path: path.to_owned(),
            start,
            end: start + 0x1000,
            bias: start - 0x800,
            pcs: ModulePcs::None,
        };
        vec![module("/worker", start), module("/lib", start + 0x10000)]
    }

    fn named(end: End, stack: &[u64], start: u64) -> String {
        let stack = stack.iter().map(|offset| start + offset).collect();
        let journal = Journal { stack, ..Journal::default() };
        name(end, &journal, &modules(start), &["/lib".to_owned()])
    }

    #[test]
    fn names_do_not_depend_on_load_addresses() {
        let one = named(CRASH, &[0x100, 0x200], 0x1000);
        assert_eq!(one, named(CRASH, &[0x100, 0x200], 0x50_0000));
        assert_ne!(one, named(CRASH, &[0x101, 0x200], 0x1000));
        assert_ne!(one, named(End::Signal(6), &[0x100, 0x200], 0x1000));
        assert!(one.starts_with("SIGSEGV-"), "{one}");
    }

    #[test]
    fn callers_of_a_library_do_not_affect_the_name() {
        let one = named(CRASH, &[0x10010, 0x20, 0x10030, 0x40], 0x1000);
        assert_eq!(one, named(CRASH, &[0x10010, 0x20, 0x10030, 0x50, 0x60], 0x1000));
        assert_ne!(one, named(CRASH, &[0x10010, 0x21, 0x10030, 0x40], 0x1000));
    }

    #[test]
    fn the_depth_of_a_recursion_does_not_affect_the_name() {
        let turns = |count: usize, first: &[u64]| {
            let loops = [0x10010, 0x10020].into_iter().cycle().take(count);
            let stack: Vec<u64> = first.iter().copied().chain(loops).chain([0x10030, 0x40]).collect();
            named(CRASH, &stack, 0x1000)
        };
        assert_eq!(turns(8, &[0x10011]), turns(13, &[0x10011]));
        assert_eq!(turns(8, &[0x10011]), turns(9, &[0x10021]));
    }

    #[test]
    fn hangs_are_named_after_the_request() {
        let file = kcov_proto::device::ArenaId { index: 0, generation: 0 };
        let asked = |request| {
            let events =
                vec![Event::Ioctl { file, request, arg: 0 }, Event::NoRead { address: 0, length: 1 }];
            name(End::Hang, &Journal { events, ..Journal::default() }, &[], &[])
        };
        assert_ne!(asked(1), asked(2));
    }

    #[test]
    fn names_are_valid_folder_names() {
        for end in [End::Signal(6), End::Signal(77), End::Exit(3), End::Exit(-1), End::Hang] {
            let journal = Journal { stack: vec![u64::MAX; 64], ..Journal::default() };
            let name = name(end, &journal, &[], &[]);
            assert!(super::super::store::is_name(&name), "{name}");
        }
    }
}
