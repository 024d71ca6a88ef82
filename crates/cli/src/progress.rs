//! What a user sees while waiting, on the standard error: bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use espalier_ir::Diagnostic;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::StageReport;
use crate::style;

/// Plain lines of one task come at most this often.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// How often the clock of a stage moves on a terminal.
const TICK: Duration = Duration::from_millis(200);

/// Shows stages and their progress, and keeps their times.
pub struct Progress {
    visible: bool,
    verbose: bool,
    /// All bars; they are drawn on a terminal only.
    bars: MultiProgress,
    stages: Vec<StageReport>,
    warnings: Vec<Diagnostic>,
}

impl Progress {
    /// Nothing is shown if `quiet`, and the time of every stage if `verbose`; bars appear only if `bars` and the standard
    /// error is a terminal.
    pub fn new(quiet: bool, verbose: bool, bars: bool) -> Self {
        let drawn = !quiet && bars && std::io::stderr().is_terminal();
        let target = if drawn { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        Progress { visible: !quiet, verbose, bars, stages: Vec::new(), warnings: Vec::new() }
    }

    /// Runs a stage under a kebab-case name and records its time. A name used before adds up. On a terminal a clock runs
    /// beside its title; stages whose length is known show [`Task`]s below it.
    pub fn stage<T>(&mut self, name: &str, title: &str, work: impl FnOnce(&mut Progress) -> T) -> T {
        self.line(&format!("{title} ..."));
        let clock = self.bars.add(ProgressBar::new_spinner());
        clock.set_style(ProgressStyle::with_template("  {spinner} {elapsed}").expect("the template is constant"));
        clock.enable_steady_tick(TICK);
        let start = Instant::now();
        let result = work(self);
        clock.finish_and_clear();
        let seconds = start.elapsed().as_secs_f64();
        if self.verbose {
            self.line(&format!("  {name}: {seconds:.2} s"));
        }
        match self.stages.iter_mut().find(|s| s.name == name) {
            Some(stage) => stage.seconds += seconds,
            None => self.stages.push(StageReport { name: name.to_owned(), seconds }),
        }
        result
    }

    /// A line of its own.
    pub fn line(&self, text: &str) {
        if self.visible {
            self.bars.suspend(|| eprintln!("{text}"));
        }
    }

    /// Shows a warning now, quiet or not, and keeps it for the report.
    pub fn warn(&mut self, warning: Diagnostic) {
        self.bars.suspend(|| eprintln!("{}", style::findings(&warning.to_string())));
        self.warnings.push(warning);
    }

    /// A bar of `total` steps.
    pub fn task(&self, title: &str, total: u64) -> Task {
        let bar = self.bars.add(ProgressBar::new(total));
        let style = ProgressStyle::with_template("  {msg:44} [{bar:30}] {human_pos}/{human_len}, {eta} left")
            .expect("the template is constant")
            .progress_chars("=> ");
        bar.set_style(style);
        bar.set_message(title.to_owned());
        Task {
            bar,
            lines: self.visible && self.bars.is_hidden(),
            title: title.to_owned(),
            start: Instant::now(),
            last_line: Instant::now(),
        }
    }

    /// Times of all stages so far.
    pub fn stages(&self) -> Vec<StageReport> {
        self.stages.clone()
    }

    /// All warnings so far.
    pub fn warnings(&self) -> Vec<Diagnostic> {
        self.warnings.clone()
    }
}

/// Progress of one task.
pub struct Task {
    bar: ProgressBar,
    lines: bool,
    title: String,
    start: Instant,
    last_line: Instant,
}

impl Task {
    /// One step more is done.
    pub fn advance(&mut self) {
        self.at(self.bar.position() + 1, "");
    }

    /// One step needs no work: the others take as long as before.
    pub fn leave_out(&mut self) {
        self.bar.dec_length(1);
    }

    /// `done` steps are done; `note` says how it goes.
    pub fn at(&mut self, done: u64, note: &str) {
        self.bar.set_position(done);
        if self.lines && self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            let total = self.bar.length().unwrap_or(0);
            let left = self.start.elapsed().as_secs_f64() * total.saturating_sub(done) as f64 / done.max(1) as f64;
            let note = if note.is_empty() { String::new() } else { format!(", {note}") };
            eprintln!("  {}: {done}/{total}{note}, {left:.0} s left", self.title);
        } else if !note.is_empty() {
            self.bar.set_message(format!("{} {note}", self.title));
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
