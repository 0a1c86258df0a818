//! What a person sees while a run works: bars on a terminal, plain lines anywhere else.
//!
//! Everything goes to standard error: standard output carries the final table only.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::metrics::StepMetrics;

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Bars if standard error is a terminal, else lines.
    #[default]
    Auto,
    /// Lines.
    Plain,
    /// Nothing.
    Silent,
}

/// Where stages say what they are doing. Clones show on the same screen.
#[derive(Clone, Debug)]
pub struct Reporter {
    screen: Arc<Screen>,
}

#[derive(Debug)]
enum Screen {
    Bars(MultiProgress),
    Plain,
    Silent,
}

/// A phase under way. What it shows goes away when it is dropped.
#[derive(Debug)]
pub struct Phase {
    bar: Option<ProgressBar>,
    lines: Option<Lines>,
    reporter: Reporter,
    name: String,
    /// Whether its end is worth a line where there are no bars.
    outer: bool,
    started: Instant,
}

/// Where there are no bars: how far a phase is, said from time to time.
#[derive(Debug)]
struct Lines {
    total: u64,
    unit: String,
    state: Mutex<LinesState>,
}

#[derive(Debug)]
struct LinesState {
    /// Done when this process began.
    earlier: u64,
    done: u64,
    message: String,
    /// When the last line was written.
    said: Instant,
}

/// How often a bar is redrawn without news, so that its clock moves.
const TICK: Duration = Duration::from_millis(120);
/// Without bars, a stage prints about so many step lines.
const PLAIN_LINES: u64 = 20;
/// Without bars, a phase that takes longer says so often how far it is.
const PLAIN_SILENCE: Duration = Duration::from_secs(30);
/// Without bars, the first steps are all shown: there something is seen to happen.
const PLAIN_FIRST: u64 = 3;
/// Shares of what should not be are shown from here on.
const WORTH_SAYING: f64 = 0.05;

impl Reporter {
    /// A reporter on standard error.
    #[must_use]
    pub fn new(verbosity: Verbosity) -> Reporter {
        let screen = match verbosity {
            Verbosity::Auto if std::io::stderr().is_terminal() => Screen::Bars(MultiProgress::new()),
            Verbosity::Auto | Verbosity::Plain => Screen::Plain,
            Verbosity::Silent => Screen::Silent,
        };
        Reporter { screen: Arc::new(screen) }
    }

    /// A phase that a person waits for: preparing Python, the base, an evaluation, the steps of a
    /// stage. `total` is what [`Phase::inc`] counts, in `unit`; without it there is no share to
    /// show.
    #[must_use]
    pub fn phase(&self, name: &str, total: Option<u64>, unit: &str) -> Phase {
        self.start(name, total, unit, true)
    }

    /// A short phase within another, such as the sampling of a step: a bar on a terminal, and
    /// nothing elsewhere.
    #[must_use]
    pub fn inner_phase(&self, name: &str, total: Option<u64>, unit: &str) -> Phase {
        self.start(name, total, unit, false)
    }

    /// A line that stays.
    pub fn note(&self, text: &str) {
        match &*self.screen {
            Screen::Bars(_) | Screen::Plain => self.suspend(|| write_line(text)),
            Screen::Silent => {}
        }
    }

    /// Does `write`, which writes to the terminal, while no bar is on the screen.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match &*self.screen {
            // Where the terminal is gone, there are no bars to take away, and trying to ends in a panic.
            Screen::Bars(bars) if bars.clear().is_ok() => bars.suspend(write),
            Screen::Bars(_) | Screen::Plain | Screen::Silent => write(),
        }
    }

    /// A step's figures: in the stage's bar on a terminal; elsewhere one line for the first steps,
    /// and then for every so many.
    pub fn step(&self, phase: &Phase, metrics: &StepMetrics, total: u64) {
        let text = step_text(metrics);
        phase.set_message(&text);
        if let Screen::Plain = &*self.screen {
            let step = metrics.step;
            let every = (total / PLAIN_LINES).max(1);
            if step <= PLAIN_FIRST || step.is_multiple_of(every) || step == total {
                write_line(&format!("{} {step}/{total}: {text}", metrics.stage));
                phase.said();
            }
        }
    }

    fn start(&self, name: &str, total: Option<u64>, unit: &str, outer: bool) -> Phase {
        let bar = match &*self.screen {
            Screen::Bars(bars) => {
                let bar = bars.add(match total {
                    Some(total) => ProgressBar::new(total),
                    None => ProgressBar::new_spinner(),
                });
                bar.set_style(style(total.is_some(), unit, outer));
                bar.set_prefix(name.to_owned());
                bar.enable_steady_tick(TICK);
                Some(bar)
            }
            Screen::Plain if outer => {
                write_line(&format!("{name} ..."));
                None
            }
            Screen::Plain | Screen::Silent => None,
        };
        let started = Instant::now();
        let lines = total.filter(|_| outer && matches!(*self.screen, Screen::Plain)).map(|total| {
            let state = LinesState { earlier: 0, done: 0, message: String::new(), said: started };
            Lines { total, unit: unit.to_owned(), state: Mutex::new(state) }
        });
        Phase { bar, lines, reporter: self.clone(), name: name.to_owned(), outer, started }
    }
}

impl Phase {
    /// So much more is done.
    pub fn inc(&self, amount: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(amount);
        }
        if let Some(lines) = &self.lines {
            let mut state = lines.state();
            state.done += amount;
            if state.said.elapsed() >= PLAIN_SILENCE && state.done < lines.total {
                state.said = Instant::now();
                write_line(&format!("{} {}", self.name, lines.text(&state, self.started.elapsed())));
            }
        }
    }

    /// So much is done in all: for a phase that goes on where an earlier run stopped.
    pub fn set_position(&self, position: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
            // The rate is of what this process does.
            bar.reset_eta();
        }
        if let Some(lines) = &self.lines {
            let mut state = lines.state();
            (state.earlier, state.done) = (position, position);
        }
    }

    /// What is said beside the bar.
    pub fn set_message(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
        if let Some(lines) = &self.lines {
            text.clone_into(&mut lines.state().message);
        }
    }

    /// A line about it was written just now.
    fn said(&self) {
        if let Some(lines) = &self.lines {
            lines.state().said = Instant::now();
        }
    }

    /// The phase is done; `result` stays to be read, after its name and time.
    pub fn finish(self, result: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.outer {
            let seconds = duration_text(self.started.elapsed().as_secs_f64());
            let dash = if result.is_empty() { "" } else { ": " };
            self.reporter.note(&format!("{} done in {seconds}{dash}{result}", self.name));
        }
    }
}

impl Lines {
    fn state(&self) -> MutexGuard<'_, LinesState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `12/400 steps, 3 min 05 s left: loss 2.310`.
    fn text(&self, state: &LinesState, took: Duration) -> String {
        let mut text = format!("{}/{} {}", state.done, self.total, self.unit);
        let here = state.done.saturating_sub(state.earlier);
        if here > 0 {
            let left = took.as_secs_f64() / here as f64 * (self.total - state.done) as f64;
            let _ = write!(text, ", {} left", duration_text(left));
        }
        if !state.message.is_empty() {
            let _ = write!(text, ": {}", state.message);
        }
        text
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(has_total: bool, unit: &str, outer: bool) -> ProgressStyle {
    // The templates are fixed but for the unit; one that indicatif refuses shows its plain style.
    ProgressStyle::with_template(&template(has_total, unit, outer))
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("rate", |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            let _ = text.write_str(&rate_text(state.per_sec()));
        })
        .progress_chars("━╸─")
}

fn template(has_total: bool, unit: &str, outer: bool) -> String {
    let indent = if outer { "" } else { "  " };
    if has_total {
        format!(
            "{indent}{{prefix:12}} {{bar:16.cyan/black.bright}} {{human_pos}}/{{human_len}} {unit} {{rate:.dim}} \
             {{eta:.dim}} {{wide_msg}}"
        )
    } else {
        format!("{indent}{{spinner:.cyan}} {{prefix}} {{elapsed:.dim}} {{wide_msg}}")
    }
}

/// How fast: `2.4K/s`, `35/s`, `4.1/s`, and for what is slow the time of each.
fn rate_text(per_second: f64) -> String {
    match per_second {
        rate if !rate.is_finite() || rate <= 0.0 => String::new(),
        rate if rate < 0.7 => format!("{} each", duration_text(rate.recip())),
        rate if rate < 10.0 => format!("{rate:.1}/s"),
        rate if rate < 1e3 => format!("{rate:.0}/s"),
        rate if rate < 1e6 => format!("{:.1}K/s", rate / 1e3),
        rate => format!("{:.1}M/s", rate / 1e6),
    }
}

fn step_text(metrics: &StepMetrics) -> String {
    let right: Vec<String> =
        metrics.accuracy.iter().map(|(family, share)| format!("{family} {:.0}%", share * 100.0)).collect();
    let mut text = format!("reward {:.3}", metrics.reward.mean);
    if !right.is_empty() {
        let _ = write!(text, " · right: {}", right.join(", "));
    }
    let _ = write!(text, " · {:.0} tokens", metrics.length.mean);
    let mut share = |share: f64, what: &str| {
        if share >= WORTH_SAYING {
            let _ = write!(text, " · {:.0}% {what}", share * 100.0);
        }
    };
    share(metrics.truncated_share, "cut off");
    share(metrics.flat_groups_share, "of groups flat");
    if let Some(entropy) = metrics.entropy {
        let _ = write!(text, " · entropy {entropy:.2}");
    }
    if metrics.time.seconds > 0.0 {
        let _ = write!(text, " · {:.1} s", metrics.time.seconds);
    }
    text
}

/// A time as people say it: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`.
#[must_use]
pub fn duration_text(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// One line to standard error. Nobody listening there is no reason to stop a run.
fn write_line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Lengths, Spread};

    #[test]
    fn times_read_well() {
        fn check(seconds: f64, expected: &str) {
            assert_eq!(duration_text(seconds), expected);
        }
        check(0.04, "0.0 s");
        check(9.4, "9.4 s");
        check(59.4, "59 s");
        check(59.6, "1 min 00 s");
        check(185.0, "3 min 05 s");
        check(7800.0, "2 h 10 min");
    }

    #[test]
    fn a_step_is_one_line() {
        let metrics = StepMetrics {
            reward: Spread { mean: 0.5125, std: 0.1 },
            accuracy: [("countdown".to_owned(), 0.314)].into(),
            length: Lengths { mean: 40.2, ..Lengths::default() },
            entropy: Some(0.456),
            ..StepMetrics::default()
        };
        let expected = "reward 0.512 · right: countdown 31% · 40 tokens · entropy 0.46";
        assert_eq!(step_text(&metrics), expected);
        let worse = StepMetrics { truncated_share: 0.12, flat_groups_share: 1.0, entropy: None, ..metrics };
        let expected = "reward 0.512 · right: countdown 31% · 40 tokens · 12% cut off · 100% of groups flat";
        assert_eq!(step_text(&worse), expected);
    }

    #[test]
    fn how_far_a_long_phase_is_is_one_line() {
        let state = LinesState { earlier: 100, done: 150, message: "loss 2.310".to_owned(), said: Instant::now() };
        let lines = Lines { total: 400, unit: "steps".to_owned(), state: Mutex::new(state) };
        let text = |took: u64| lines.text(&lines.state(), Duration::from_secs(took));
        assert_eq!(text(37), "150/400 steps, 3 min 05 s left: loss 2.310");
        lines.state().done = 100;
        assert_eq!(text(37), "100/400 steps: loss 2.310");
    }

    #[test]
    fn rates_are_short() {
        fn check(per_second: f64, expected: &str) {
            assert_eq!(rate_text(per_second), expected);
        }
        check(0.0, "");
        check(0.05, "20 s each");
        check(0.4, "2.5 s each");
        check(4.13, "4.1/s");
        check(35.2, "35/s");
        check(2379.2, "2.4K/s");
        check(f64::INFINITY, "");
    }

    #[test]
    fn every_template_is_one_that_indicatif_takes() {
        for has_total in [true, false] {
            for outer in [true, false] {
                let template = template(has_total, "tokens", outer);
                assert!(ProgressStyle::with_template(&template).is_ok(), "{template}");
            }
        }
    }
}
