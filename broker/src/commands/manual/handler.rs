//! `kcov-handler(7)`: how to write, build, run and debug handlers.

use super::{HANDLER, entry, example};
use clap::Command;
use clap_mangen::roff::{Roff, bold, roman};

/// An example of a handler in C.
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

/// How to build and run it.
const BUILD_C: &str = r#"gcc -g -shared -fPIC $(pkg-config --cflags kcov-handler) \
    $(pkg-config --variable=gcc_coverage kcov-handler) -o libdoor.so door.c
clang -g -shared -fPIC $(pkg-config --cflags kcov-handler) \
    $(pkg-config --variable=clang_coverage kcov-handler) -o libdoor.so door.c

kcov-broker run --handler ./libdoor.so -- COMMAND
"#;

/// The same handler in Rust.
const IN_RUST: &str = r#"use kcov_worker::Errno;
use kcov_worker::handler::{Caller, device};

fn knock(_request: u32, arg: u64, _caller: &mut Caller<'_>) -> Result<(), Errno> {
    if arg == 0x6b_6e6f_636b { Ok(()) } else { Err(Errno::EACCES) }
}

fn main() -> std::process::ExitCode {
    kcov_worker::main([device("/dev/door", 0x7801..=0x7801, knock)])
}
"#;

/// How to build and run it.
const BUILD_RUST: &str = r#"cargo new door && cd door
rust=$(pkg-config --variable=rust kcov-handler)
cp "$rust/Cargo.lock" . && cargo add --path "$rust/worker"
kcov-broker cargo build

kcov-broker run --worker target/debug/door -- COMMAND
"#;

/// A term and its description.
type Entry = (&'static str, &'static str);

const CLAIMS: [Entry; 4] = [
    (
        "a device",
        "A path, /dev/NAME or /dev/DIRECTORY/NAME, that only COMMAND sees, and the range of ioctl requests that the handler \
         answers; other requests fail with ENOTTY. open creates the state of an open file; release (in Rust, drop) frees it \
         at the last close.",
    ),
    (
        "a system call",
        "Its name, and conditions on its arguments: a mask, and the value of the masked bits. The filter checks them, so calls \
         that do not match cost nothing. Claimed calls reach the handler with any --trace.",
    ),
    (
        "several handlers",
        "They are asked in the order of the command line. A handler that answers with continue leaves the call to the next \
         one; after the last one, the kernel executes the call.",
    ),
    (
        "configuration",
        "With --handler LIBRARY:CONFIG, CONFIG is the argument config of kcov_handler_v1. A handler that rejects it calls \
         host->refuse with the reason and returns NULL; then nothing is started.",
    ),
];

const ANSWERS: [Entry; 4] = [
    ("kcov_value, Answer::Value, Answer::Fail", "The call returns this value, or fails with this errno."),
    (
        "kcov_descriptor, Answer::Descriptor",
        "The call returns a new descriptor, for a memfd, pipe or eventfd of the handler.",
    ),
    (
        "kcov_continue, Answer::Continue",
        "The call is left to the next handler or the kernel. The handler gives a reason, which is logged once. Arguments in \
         memory may change before the kernel reads them.",
    ),
    (
        "host->read, host->write, Caller",
        "Read and write the caller's memory during its call, at most 16 MiB at a time. They fail with -EFAULT if nothing is \
         mapped there, and with -ENOMEM beyond a quota. The memory may change at any time, so read a value that is checked \
         only once.",
    ),
];

const WORKER: [Entry; 3] = [
    (
        "while it is loaded",
        "kcov_handler_v1 and constructors run once, before COMMAND, in an unprivileged process that may still open files \
         that everybody may read. Every worker starts with the memory that they leave.",
    ),
    (
        "while it serves",
        "One call at a time, in one thread, in a jail without files, sockets, new threads or processes. A system call that the \
         jail forbids kills the worker with SIGSYS.",
    ),
    (
        "when it crashes or hangs",
        "The call fails with EIO, after --deadline at the latest. Other callers are not affected. Open files of the handler's \
         devices are lost with the worker, and their calls fail with EIO until they are opened again. For a handler that \
         declares itself idempotent (KCOV_HANDLER_IDEMPOTENT, Handler::idempotent), a new worker repeats the call once.",
    ),
];

const COVERAGE: [Entry; 5] = [
    ("gcc", "-g -fsanitize-coverage=trace-pc,trace-cmp -fno-optimize-sibling-calls"),
    (
        "clang",
        "-g -fsanitize-coverage=trace-pc-guard,pc-table,trace-cmp,trace-div; add bb and no-prune for lines that agree with \
         llvm-cov(1).",
    ),
    (
        "Rust",
        "kcov-broker cargo build instead of cargo build: instruments the crates of the workspace, but not their dependencies. \
         Or use the macros kcov_edge! and kcov_cmp! in a crate that is not instrumented.",
    ),
    ("other languages", "Call host->record_edge and host->record_cmp, with your own numbers for points."),
    (
        "with sanitizers",
        "Add -fsanitize=address or -fsanitize=undefined: a report kills the worker, and the artifact contains it. clang also \
         needs -shared-libsan, and -Wl,-rpath with the directory of its runtimes.",
    ),
];

const REMOTE: [Entry; 6] = [
    (
        "host->common_handle, Caller::common_handle",
        "The common handle of the calling thread, 0 if it has none. The thread sets it by KCOV_REMOTE_ENABLE; threads and \
         processes that it creates inherit it. Keep it with work that is done after the call.",
    ),
    (
        "host->remote_start, remote_start",
        "Starts a section for a handle, in any function of the handler and at any time. A handle that is not in use records \
         nothing. In C, the flag KCOV_REMOTE_SOFTIRQ, and in Rust remote_start_softirq, start one that may come inside \
         another section.",
    ),
    (
        "host->remote_run, Section::run",
        "Runs code in the section. Its records go to a private buffer of the size that the client asked for. The recording of \
         the call that the handler is answering is put aside meanwhile. A section may run code several times, also in later \
         calls.",
    ),
    (
        "host->remote_stop, Section::stop",
        "Appends the records to the area of the handle, as many as fit. Until then nothing is visible. The section is dropped if \
         the instance was disabled or released since its start, or its owner has exited.",
    ),
    (
        "who appends when",
        "After KCOV_ENABLE, the code that answers a call of the thread appends each record at once. After KCOV_REMOTE_ENABLE, \
         the calls of the thread are not recorded; sections with its handles append when they stop.",
    ),
    (
        "release",
        "If the close is traced (--trace kcov,close), the code of release is recorded like that of the call: in the area of the \
         thread that closed the last descriptor, before its next call is answered. Otherwise it may start a section.",
    ),
];

const TOOLS: [Entry; 5] = [
    (
        "a test without COMMAND or root",
        "In Rust: kcov_worker::harness calls a handler with arguments and memory, and returns its answer and its records.",
    ),
    (
        "kcov-broker cover",
        "Runs COMMAND and reports the coverage of the handlers by file and function: --html, --lcov, --json. See \
         kcov-broker-cover(1).",
    ),
    (
        "kcov-broker symbolize",
        "Converts PCs of the caller's area to function, file and line. Use the same --worker and --handler as for the run. \
         The PCs of a binary are the same in every run and on every machine. See kcov-broker-symbolize(1).",
    ),
    (
        "kcov-broker run --artifacts DIR",
        "Writes a directory for each place in the code where a worker died: the call, the memory that it read, the stack with \
         lines, and the worker's output. report.txt is a summary. See kcov-broker-artifacts(1).",
    ),
    (
        "kcov-broker replay ARTIFACT",
        "Repeats the calls with the same memory, without COMMAND, root or jail; with --gdb in the debugger, with --handler for \
         a new build of the library. See kcov-broker-replay(1).",
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
        "Link the libraries that it needs (-lm). The loader must find them (-Wl,-rpath), and everybody must be able to read them.",
    ),
    (
        "a handler has started threads while it was loaded",
        "Do not start threads: workers are forked from the process that loaded the handler, and threads do not survive a fork.",
    ),
    (
        "... can be written and executed",
        "The library requests an executable stack: link with -z noexecstack, or fix the object that lacks .note.GNU-stack.",
    ),
];

const FILES: [Entry; 4] = [
    ("/usr/include/kcov_handler.h", "The interface for C, with a description of each member."),
    (
        "/usr/share/kcov-broker/rust",
        "The sources of the crate kcov-worker. Run cargo doc --open there for its documentation.",
    ),
    (
        "/usr/share/doc/kcov-broker/examples/handler",
        "A device in C and in Rust, a client, and a Makefile. Copy the directory and run make run.",
    ),
    (
        "/usr/share/doc/kcov-broker/TUTORIAL.md",
        "A tutorial in Rust, from an empty directory to the first bug.",
    ),
];

/// Renders the page.
pub fn page(program: &Command) -> Roff {
    let mut roff = Roff::new();
    let version = format!("kcov-broker {}", program.get_version().unwrap_or_default());
    roff.control("TH", [HANDLER, "7", "", version.as_str(), ""]);
    section(
        &mut roff,
        "NAME",
        "kcov-handler - code in C or Rust that emulates the kernel for commands under kcov-broker",
    );
    section(
        &mut roff,
        "DESCRIPTION",
        "A handler answers system calls of a command under kcov-broker-run(1), or requests to devices that it provides. The \
         coverage of its code is recorded in the KCOV area of the calling thread. It runs in an unprivileged worker process; \
         if it crashes, the call fails with EIO. In C it is a shared library that exports one function. In Rust it is a \
         program that replaces the worker program, or a library as in C.",
    );
    section(
        &mut roff,
        "A HANDLER IN C",
        "The library exports kcov_handler_v1, which returns what the handler claims:",
    );
    example(&mut roff, IN_C);
    roff.text([roman("Build it with either compiler, and name it on the command line of the run:")]);
    example(&mut roff, BUILD_C);
    section(
        &mut roff,
        "A HANDLER IN RUST",
        "A closure, or a type that implements Handler. This is all of src/main.rs:",
    );
    example(&mut roff, IN_RUST);
    roff.text([roman("The crate needs a C compiler and the development files of libseccomp:")]);
    example(&mut roff, BUILD_RUST);
    let sections: [(&str, &[Entry]); 8] = [
        ("CLAIMS", &CLAIMS),
        ("ANSWERS", &ANSWERS),
        ("ENVIRONMENT OF A HANDLER", &WORKER),
        ("COVERAGE", &COVERAGE),
        ("REMOTE SECTIONS", &REMOTE),
        ("TESTING AND DEBUGGING", &TOOLS),
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
