//! `kcov-handler(7)`: how handlers are written, built, run and looked into.

use super::{HANDLER, entry, example};
use clap::Command;
use clap_mangen::roff::{Roff, bold, roman};

/// A handler in C, as an example.
pub(super) const IN_C: &str = r#"#include <kcov_handler.h>
#include <errno.h>

static int open_door(void *state, uint32_t device, uint32_t flags,
                     struct kcov_caller *caller, void **file)
{
    return 0;
}

static struct kcov_answer knock(void *state, void *file, uint32_t request,
                                uint64_t arg, struct kcov_caller *caller)
{
    return kcov_value(arg == 0x6b6e6f636bull ? 0 : -EACCES);
}

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *host,
                                           const char *config)
{
    static const struct kcov_device_claim device = {"/dev/door", 0x7801, 0x7801};
    static const struct kcov_handler handler = {
        .version = KCOV_HANDLER_VERSION, .size = sizeof(handler),
        .name = "door", .devices = &device, .devices_count = 1,
        .open = open_door, .ioctl = knock,
    };

    return &handler;
}
"#;

/// How it is built and run.
const BUILD_C: &str = r#"gcc -g -shared -fPIC $(pkg-config --cflags kcov-handler) \
    $(pkg-config --variable=gcc_coverage kcov-handler) -o libdoor.so door.c
clang -g -shared -fPIC $(pkg-config --cflags kcov-handler) \
    $(pkg-config --variable=clang_coverage kcov-handler) -o libdoor.so door.c

kcov-broker run --handler ./libdoor.so -- COMMAND
"#;

/// The same in Rust.
const IN_RUST: &str = r#"use kcov_worker::Errno;
use kcov_worker::handler::{Caller, device};

fn knock(_request: u32, arg: u64, _caller: &mut Caller<'_>) -> Result<(), Errno> {
    if arg == 0x6b_6e6f_636b { Ok(()) } else { Err(Errno::EACCES) }
}

fn main() -> std::process::ExitCode {
    kcov_worker::main([device("/dev/door", 0x7801..=0x7801, knock)])
}
"#;

/// How that is built and run.
const BUILD_RUST: &str = r#"cargo new door && cd door
rust=$(pkg-config --variable=rust kcov-handler)
cp "$rust/Cargo.lock" . && cargo add --path "$rust/worker"
kcov-broker cargo build

kcov-broker run --worker target/debug/door -- COMMAND
"#;

/// A term and what is said about it.
type Entry = (&'static str, &'static str);

const CLAIMS: [Entry; 4] = [
    (
        "a device",
        "A path, /dev/NAME or /dev/DIRECTORY/NAME, which COMMAND alone sees, and the ioctl requests that are answered, \
         from the first to the last; others are ENOTTY. open makes the state of an open file, release (in Rust, drop) ends \
         it at the last close.",
    ),
    (
        "a system call",
        "Its name, and conditions on its arguments: the bits under a mask, and their value. They become part of the filter, \
         so that calls that do not meet them cost nothing. Claimed calls reach the handler whatever --trace says.",
    ),
    (
        "several handlers",
        "They are asked in the order of the command line; one that answers that the call is to go on leaves it to the next, \
         the last one to the kernel.",
    ),
    (
        "configuration",
        "What follows on the library's name, --handler LIBRARY:CONFIG, is the argument config of kcov_handler_v1. A handler \
         that it does not suit calls host->refuse with the reason and returns NULL: nothing starts then.",
    ),
];

const ANSWERS: [Entry; 4] = [
    ("kcov_value, Answer::Value, Answer::Fail", "The call returns this value, or fails with this errno."),
    (
        "kcov_descriptor, Answer::Descriptor",
        "It returns a new descriptor of a memfd, a pipe or an eventfd of the handler's.",
    ),
    (
        "kcov_continue, Answer::Continue",
        "The next handler or the kernel has it, for a reason, which the log tells once. Arguments in memory may change \
         before the kernel reads them.",
    ),
    (
        "host->read, host->write, Caller",
        "Read and write the caller's memory while its call is in flight, at most 16 MiB at a time; -EFAULT where nothing is \
         mapped, -ENOMEM over a quota. It may change at any time: read once what must not.",
    ),
];

const WORKER: [Entry; 3] = [
    (
        "while it is loaded",
        "kcov_handler_v1 and constructors run once, before COMMAND, in a process without rights that may still open files \
         that everybody may. What they leave in memory every worker begins with.",
    ),
    (
        "while it serves",
        "One call at a time, in one thread, in a jail: no file, socket, thread or process. A call that the jail forbids ends \
         the worker by SIGSYS.",
    ),
    (
        "when it crashes or hangs",
        "The caller gets EIO, at the latest after --deadline, and nobody else notices. Open files of its devices are lost \
         with the worker and return EIO until they are opened again. A handler whose calls may be handled twice says so \
         (KCOV_HANDLER_IDEMPOTENT, Handler::idempotent): then there is a second try in a fresh worker.",
    ),
];

const COVERAGE: [Entry; 5] = [
    ("gcc", "-g -fsanitize-coverage=trace-pc,trace-cmp -fno-optimize-sibling-calls"),
    (
        "clang",
        "-g -fsanitize-coverage=trace-pc-guard,pc-table,trace-cmp,trace-div; with bb and no-prune besides for lines that agree \
         with llvm-cov(1).",
    ),
    (
        "Rust",
        "kcov-broker cargo build, in the place of cargo build: instruments the crates of the workspace and no dependency. Or \
         the macros kcov_edge! and kcov_cmp!, in a crate that is not instrumented.",
    ),
    ("other languages", "host->record_edge and host->record_cmp, with numbers of their own for points."),
    (
        "with sanitizers",
        "-fsanitize=address or -fsanitize=undefined besides: a report ends the worker and stands in the artifact. clang needs \
         -shared-libsan, and its runtime's folder by -Wl,-rpath.",
    ),
];

const TOOLS: [Entry; 5] = [
    (
        "a test without COMMAND or root",
        "In Rust: kcov_worker::harness calls a handler with arguments and memory, and returns its answer and its records.",
    ),
    (
        "kcov-broker cover",
        "Runs COMMAND and tells what of the handlers was covered, by file and function: --html, --lcov, --json. See \
         kcov-broker-cover(1).",
    ),
    (
        "kcov-broker symbolize",
        "Turns PCs of the caller's area into function, file and line. Give it the same --worker and --handler as the run had. \
         A binary has the same PCs in every run and on every machine. See kcov-broker-symbolize(1).",
    ),
    (
        "kcov-broker run --artifacts DIR",
        "Keeps a folder for each place in the code where a worker died: the call, the memory that it read, the stack with \
         lines, what the worker printed. report.txt is for people. See kcov-broker-artifacts(1).",
    ),
    (
        "kcov-broker replay ARTIFACT",
        "Gives a handler the same calls and memory again, without COMMAND, root or jail; --gdb does so under the debugger, \
         --handler with a library that was built anew. See kcov-broker-replay(1).",
    ),
];

const REFUSED: [Entry; 5] = [
    (
        "it exports no `kcov_handler_v1`",
        "The function is static, or hidden by -fvisibility=hidden or a version script.",
    ),
    (
        "it is a handler of version N",
        "Set version to KCOV_HANDLER_VERSION and size to sizeof(struct kcov_handler), and build it with the header of this \
         kcov-broker.",
    ),
    (
        "it cannot be loaded",
        "Link what it needs (-lm), where the loader finds it (-Wl,-rpath), readable for everybody.",
    ),
    (
        "a handler has started threads while it was loaded",
        "Workers are forked of what was loaded, and would not have them: start none.",
    ),
    (
        "... can be written and executed",
        "The library wants an executable stack: -z noexecstack, or mend the object that lacks .note.GNU-stack.",
    ),
];

const FILES: [Entry; 4] = [
    ("/usr/include/kcov_handler.h", "The interface for C, each member with its rule."),
    (
        "/usr/share/kcov-broker/rust",
        "The sources of the crate kcov-worker; cargo doc --open there has its documentation.",
    ),
    (
        "/usr/share/doc/kcov-broker/examples/handler",
        "A device in C and in Rust, a client of it, and a Makefile: copy the folder, and make run.",
    ),
    ("/usr/share/doc/kcov-broker/TUTORIAL.md", "From an empty folder to the first bug, in Rust."),
];

/// The page.
pub fn page(program: &Command) -> Roff {
    let mut roff = Roff::new();
    let version = format!("kcov-broker {}", program.get_version().unwrap_or_default());
    roff.control("TH", [HANDLER, "7", "", version.as_str(), ""]);
    section(
        &mut roff,
        "NAME",
        "kcov-handler - code that plays the kernel for callers of kcov-broker, in C or Rust",
    );
    section(
        &mut roff,
        "DESCRIPTION",
        "A handler answers system calls of a command that kcov-broker-run(1) runs, or requests of devices that it brings. What \
         its code covers stands in the KCOV area of the thread that called. It runs in an unprivileged worker process, and a \
         crash of it costs its caller an EIO. In C it is a shared library that exports one function; in Rust a program that \
         takes the place of the worker, or a library like that in C.",
    );
    section(&mut roff, "A HANDLER IN C", "The library exports kcov_handler_v1, which says what it wants:");
    example(&mut roff, IN_C);
    roff.text([roman("It is built with either compiler, and named to the run:")]);
    example(&mut roff, BUILD_C);
    section(
        &mut roff,
        "A HANDLER IN RUST",
        "A closure, or a type that implements Handler. All of src/main.rs:",
    );
    example(&mut roff, IN_RUST);
    roff.text([roman("It needs the C compiler and the development files of libseccomp, as the crate does:")]);
    example(&mut roff, BUILD_RUST);
    let sections: [(&str, &[Entry]); 7] = [
        ("WHAT IT CAN CLAIM", &CLAIMS),
        ("WHAT IT CAN ANSWER", &ANSWERS),
        ("WHERE IT RUNS", &WORKER),
        ("HOW IT IS COVERED", &COVERAGE),
        ("HOW TO LOOK INTO IT", &TOOLS),
        ("WHY IT IS REFUSED", &REFUSED),
        ("FILES", &FILES),
    ];
    for (title, entries) in sections {
        roff.control("SH", [title]);
        entries.iter().for_each(|(term, text)| entry(&mut roff, &[bold(*term)], text));
    }
    section(
        &mut roff,
        "SEE ALSO",
        "kcov-broker-run(1), kcov-broker-cover(1), kcov-broker-symbolize(1), kcov-broker-replay(1), kcov-broker.toml(5)",
    );
    roff
}

fn section(roff: &mut Roff, title: &str, text: &str) {
    roff.control("SH", [title]);
    roff.text([roman(text)]);
}
