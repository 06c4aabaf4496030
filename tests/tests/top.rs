//! `kcov-broker top` on a terminal that tmux emulates.

use anyhow::{Context, Result, ensure};
use kcov_tests::live::Client;
use kcov_tests::{Session, until};
use std::process::{Command, Stdio};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);

/// A separate tmux server with one window. Dropping it ends it.
struct Screen {
    server: String,
}

impl Screen {
    fn start(name: &str, session: &Session, arguments: &str) -> Result<Self> {
        let screen = Screen { server: format!("kcov-{name}-{}", std::process::id()) };
        let line =
            format!("{} top {arguments}; echo status $?; sleep 1000", session.path("kcov-broker").display());
        screen.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "130", "-y", "40", &line])?;
        Ok(screen)
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-L").arg(&self.server).args(arguments).env_remove("TMUX").env("TERM", "xterm");
        let output = command.output().context("tmux (deploy/test installs it)")?;
        ensure!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn press(&self, keys: &[&str]) -> Result<()> {
        self.tmux(&[&["send-keys"], keys].concat()).map(drop)
    }

    /// Waits until the lines of the screen are as wanted, and returns them.
    fn expect(&self, what: &str, holds: impl Fn(&[&str]) -> bool) -> Result<()> {
        let mut last = String::new();
        let seen = until(what, WITHIN, || {
            last = self.tmux(&["capture-pane", "-p"]).ok()?;
            holds(&last.lines().collect::<Vec<_>>()).then_some(())
        });
        seen.with_context(|| format!("the screen:\n{last}"))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The server may not have been started.
        let _ = self.tmux(&["kill-server"]);
    }
}

fn has(lines: &[&str], text: &str) -> bool {
    lines.iter().any(|line| line.contains(text))
}

#[test]
fn top_shows_tenants_and_obeys_its_keys() -> Result<()> {
    let client = Client::start(&["--name", "top-shown"])?;
    let tenant = client.tenant_after_calls()?;
    let pid = tenant.pid.to_string();
    let screen = Screen::start("keys", &client.running.session, &format!("--every 100ms {pid}"))?;
    let is_shown = |lines: &[&str]| {
        lines.iter().any(|line| line.contains("top-shown") && line.contains("live") && line.contains(&pid))
    };
    screen.expect("the tenant", |lines| {
        has(lines, "kcov-broker top: ") && has(lines, "CALLS/S") && is_shown(lines)
    })?;
    screen.press(&["s"])?;
    screen.expect("another order", |lines| has(lines, "by CALLS") && !has(lines, "by CALLS/S"))?;
    screen.press(&["r"])?;
    screen.expect("the reverse", |lines| has(lines, "by CALLS, reversed"))?;
    screen.press(&["p"])?;
    screen.expect("a pause", |lines| has(lines, "PAUSED"))?;
    screen.press(&["p"])?;
    screen.expect("the end of the pause", |lines| !has(lines, "PAUSED"))?;
    screen.tmux(&["resize-window", "-x", "60", "-y", "8"])?;
    screen.expect("a small screen", |lines| lines.len() <= 8 && has(lines, "NAME"))?;
    screen.tmux(&["resize-window", "-x", "160", "-y", "50"])?;
    screen.expect("a large screen", |lines| has(lines, "REFUSED") && is_shown(lines))?;
    screen.press(&["q"])?;
    screen.expect("the end of top", |lines| has(lines, "status 0"))?;
    drop(screen);

    // Its session differs from that of the run, which ends before it.
    let viewer = Session::new()?;
    let screen = Screen::start("detail", &viewer, &pid)?;
    screen.expect("the tenant", is_shown)?;
    screen.press(&["Enter"])?;
    let calls = format!("{} (", tenant.notifications);
    screen.expect("the detail", |lines| {
        has(lines, &calls) && has(lines, "by latency, below") && has(lines, "█")
    })?;
    client.finish()?;
    screen.expect("the end of the tenant", |lines| has(lines, ": 0 tenants"))?;
    screen.press(&["C-c"])?;
    screen.expect("the end of top", |lines| has(lines, "status 0"))
}

#[test]
fn top_without_a_terminal_is_refused() -> Result<()> {
    let session = Session::new()?;
    let output = Command::new(session.path("kcov-broker")).arg("top").stdin(Stdio::null()).output()?;
    assert_eq!(output.status.code(), Some(125));
    let stderr = String::from_utf8(output.stderr)?;
    assert!(stderr.contains("top needs a terminal") && stderr.contains("kcov-broker status"), "{stderr}");
    Ok(())
}
