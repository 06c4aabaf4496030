//! What the options of `run` change about the device.

use anyhow::Result;
use kcov_tests::Run;

/// Opens the device, initialises an area and resets it, and prints the errno of each step.
const CLIENT: &str = r"
import errno, fcntl, os, sys
def step(name, request, argument):
    try: fcntl.ioctl(device, request, argument); print(name, 'ok')
    except OSError as error: print(name, errno.errorcode[error.errno])
device = os.open('/sys/kernel/debug/kcov', os.O_RDWR)
step('init', 0x80086301, int(sys.argv[1]))
step('idle-reset', 0x6368, 0)
step('enable', 0x6364, 0)
step('reset', 0x6368, 0)
step('disable', 0x6365, 0)
";

fn steps(words: &str, options: &[&str]) -> Result<String> {
    let run = Run::new(["python3", "-c", CLIENT, words]).trace("kcov");
    let outcome = options.iter().fold(run, |run, option| run.option(option)).output()?;
    outcome.assert_sound()?;
    Ok(outcome.stdout)
}

/// Without extensions the device does not know `RESET_TRACE`.
#[test]
fn without_extensions_reset_gives_enotty() -> Result<()> {
    let shown = steps("512", &["--extensions", "none"])?;
    assert_eq!(shown, "init ok\nidle-reset ENOTTY\nenable ok\nreset ENOTTY\ndisable ok\n");
    Ok(())
}

/// With the extension only the collecting thread may use `RESET_TRACE`.
#[test]
fn with_the_extension_reset_is_for_the_collecting_thread() -> Result<()> {
    let shown = steps("512", &["--extensions", "reset"])?;
    assert_eq!(shown, "init ok\nidle-reset EINVAL\nenable ok\nreset ok\ndisable ok\n");
    Ok(())
}

/// An area of the largest permitted size is granted. One more word gives ENOMEM.
#[test]
fn an_area_above_the_largest_size_gives_enomem() -> Result<()> {
    let limit = ["--max-area", "65536", "--extensions", "none"];
    assert!(steps("8192", &limit)?.starts_with("init ok\n"));
    assert!(steps("8193", &limit)?.starts_with("init ENOMEM\n"));
    Ok(())
}
