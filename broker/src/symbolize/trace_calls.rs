//! Finds the calls to `__sanitizer_cov_trace_pc` in a binary.

pub(super) use kcov_proto::trace_calls::TRACE_PC;

use kcov_proto::trace_calls::{Code, Machine, Targets, find as find_calls};
use object::{Architecture, Object, ObjectSection, ObjectSymbol, SectionKind};

/// Returns the return addresses of all calls, ascending. `words` are the addresses of the words into which the
/// loader writes the address of the callback.
pub(super) fn find(file: &object::File<'_>, words: &[u64]) -> object::Result<Vec<u64>> {
    let machine = match file.architecture() {
        Architecture::X86_64 => Machine::X86,
        Architecture::Aarch64 => Machine::Arm,
        _ => return Ok(Vec::new()),
    };
    let symbols = file.symbols().chain(file.dynamic_symbols());
    let named = symbols.filter(|symbol| symbol.is_definition() && symbol.name() == Ok(TRACE_PC));
    let targets = Targets {
        functions: named.map(|symbol| symbol.address()).collect(),
        words: words.iter().copied().collect(),
    };
    let sections = file.sections().filter(|section| section.kind() == SectionKind::Text);
    let code = sections
        .map(|section| Ok(Code { address: section.address(), bytes: section.data()? }))
        .collect::<object::Result<Vec<_>>>()?;
    Ok(find_calls(machine, &code, targets))
}
