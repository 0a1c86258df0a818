//! Ctrl-C: the first press asks the run to stop where nothing is lost, the second stops it at once. A terminal that is closed,
//! or a connection that breaks, asks the same as the first press.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// The status of a process that a signal stopped, as shells write it (128 + SIGINT).
const STOPPED_BY_SIGNAL: i32 = 130;
/// How often it is looked whether there is something to announce.
const LOOK: Duration = Duration::from_millis(100);

/// A flag that says whether the run should stop after the step it is in. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
    awaited: Arc<Mutex<Option<&'static str>>>,
}

/// Something long is under way that cannot be stopped before its end: see [`Interrupt::awaiting`].
#[derive(Debug)]
pub struct Awaiting(Interrupt);

impl Drop for Awaiting {
    fn drop(&mut self) {
        *self.0.awaited() = None;
    }
}

impl Interrupt {
    /// A flag that nobody has raised.
    #[must_use]
    pub fn new() -> Interrupt {
        Interrupt::default()
    }

    /// Raises the flag on Ctrl-C (or the signal to end); a second one ends the process. `announce`
    /// is told of the first, and what has to end before the run can stop, if anything has. The flag is raised as well when the
    /// terminal is gone, unless that was to be ignored (`nohup`). Signals belong to the process, so only the command asks for
    /// this.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn on_ctrl_c(&self, announce: impl FnOnce(Option<&'static str>) + Send + 'static) -> anyhow::Result<()> {
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag down and raises it, the second finds
            // it up and ends the process. Both work even while every thread computes.
            flag::register_conditional_shutdown(signal, STOPPED_BY_SIGNAL, self.requested.clone())
                .and_then(|_| flag::register(signal, self.requested.clone()))
                .context("cannot listen to Ctrl-C")?;
        }
        // Of a terminal that is closed both the shell and the system may tell: the second time is no wish to stop at once.
        if ends_by(SIGHUP) {
            flag::register(SIGHUP, self.requested.clone()).context("cannot listen to the terminal's end")?;
        }
        // A signal handler may not print, so a thread of its own does.
        let seen = self.clone();
        std::thread::Builder::new()
            .name("interrupt".to_owned())
            .spawn(move || {
                while !seen.requested() {
                    std::thread::sleep(LOOK);
                }
                let awaited = *seen.awaited();
                announce(awaited);
            })
            .context("cannot listen to Ctrl-C")?;
        Ok(())
    }

    /// Until the returned guard is dropped, the run can stop only when what is said here has come about, such as "the
    /// Python sandbox is prepared".
    #[must_use]
    pub fn awaiting(&self, what: &'static str) -> Awaiting {
        *self.awaited() = Some(what);
        Awaiting(self.clone())
    }

    /// What has to end before the run can stop.
    fn awaited(&self) -> MutexGuard<'_, Option<&'static str>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Raises the flag.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
    }

    /// Whether the run should write a checkpoint and stop.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }
}

/// Whether this process does not ignore the signal; no where the system does not say.
fn ends_by(signal: i32) -> bool {
    let ignored = || {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        Some(u64::from_str_radix(mask.trim(), 16).ok()? >> (signal - 1) & 1 == 1)
    };
    ignored() == Some(false)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Set in the process that is sent signals.
    const LISTENER: &str = "RECIPE_TEST_LISTENER";
    /// With what it ends where it was asked to, and did so by itself.
    const IN_ORDER: i32 = 7;

    /// The process that is sent signals, where it is one: it says when it listens, and takes its time to stop.
    #[test]
    fn a_listener() {
        if std::env::var_os(LISTENER).is_none() {
            return;
        }
        let interrupt = Interrupt::new();
        interrupt.on_ctrl_c(|_| ()).unwrap();
        writeln!(std::io::stdout(), "listening").unwrap();
        for _ in 0..600 {
            if interrupt.requested() {
                std::thread::sleep(3 * LOOK);
                std::process::exit(IN_ORDER);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The listener, begun by a shell that does `first`.
    fn listener(first: &str) -> Child {
        let program = std::env::current_exe().unwrap();
        let script = format!("{first}; exec \"$0\" \"$@\"");
        let mut child = Command::new("sh")
            .args(["-c", &script, program.to_str().unwrap(), "--exact", "interrupt::tests::a_listener", "--nocapture"])
            .env(LISTENER, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("listening")));
        child
    }

    fn send(signal: &str, child: &Child) {
        let status = Command::new("sh").args(["-c", "kill -$0 $1", signal, &child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    #[test]
    fn a_terminal_that_is_closed_stops_in_order() {
        if !ends_by(SIGHUP) {
            // Begun under nohup: so would the listener be.
            return;
        }
        let mut child = listener("true");
        send("HUP", &child);
        send("HUP", &child);
        assert_eq!(child.wait().unwrap().code(), Some(IN_ORDER));
    }

    #[test]
    fn a_closed_terminal_that_is_to_be_ignored_is() {
        let mut child = listener("trap '' HUP");
        send("HUP", &child);
        std::thread::sleep(6 * LOOK);
        assert!(child.try_wait().unwrap().is_none());
        send("TERM", &child);
        assert_eq!(child.wait().unwrap().code(), Some(IN_ORDER));
    }

    #[test]
    fn clones_share_the_flag() {
        let interrupt = Interrupt::new();
        let seen_by_stage = interrupt.clone();
        assert!(!seen_by_stage.requested());
        interrupt.request();
        assert!(seen_by_stage.requested());
        assert!(!Interrupt::new().requested());
    }

    #[test]
    fn what_is_announced_is_what_is_awaited() {
        let interrupt = Interrupt::new();
        let awaiting = interrupt.clone().awaiting("the base is made");
        let (told, heard) = std::sync::mpsc::channel();
        interrupt.on_ctrl_c(move |awaited| told.send(awaited).unwrap()).unwrap();
        interrupt.request();
        assert_eq!(heard.recv_timeout(Duration::from_secs(10)), Ok(Some("the base is made")));
        drop(awaiting);
        assert_eq!(*interrupt.awaited(), None);
    }
}
