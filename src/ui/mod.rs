//! Events become a live view, plain lines or JSON; also the pieces that other
//! output is made of (tables, durations, colour, the block that explains an error).
//!
//! Only this module prints what happens in a run. It runs in a thread of its own,
//! takes events from one channel and never answers: when its stream breaks (a
//! closed pipe), it goes on taking events and the run does not notice. A prompt
//! takes the screen with [`Screen::suspend`].

pub(crate) mod clean;
pub mod human;
pub mod live;
pub mod plain;
pub(crate) mod plan_drawing;
pub(crate) mod plan_table;
pub(crate) mod progress;
pub mod prompt;
pub(crate) mod report;
pub(crate) mod style;
pub(crate) mod table;
pub mod terminal;
pub(crate) mod text;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use clap::ValueEnum;
use console::Term;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use self::clean::{Cleaned, escape_json};
use self::human::Human;
use self::plain::Plain;
use crate::run::event::Stamped;

pub(crate) use report::report_error;
pub use style::{ColorChoice, Style};
pub(crate) use table::table;

/// How often the channel is looked at and the live part is drawn.
const TICK: Duration = Duration::from_millis(100);

/// Prints a line of result. A reader that went away (`| head`) has read enough.
pub(crate) fn say(line: impl std::fmt::Display) {
    let _ = writeln!(Cleaned::new(io::stdout()), "{line}");
}

/// Gives `value` as indented JSON that is safe to print on a terminal.
pub(crate) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|text| escape_json(&text))
}

/// The `--log-format` flag.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Human on a terminal, else plain.
    #[default]
    Auto,
    Human,
    Plain,
    Json,
}

/// One way of showing events.
pub trait View: Send {
    fn show(&mut self, stamped: &Stamped) -> io::Result<()>;

    /// Called now and then, also when nothing happens.
    fn tick(&mut self, _now: Timestamp) -> io::Result<()> {
        Ok(())
    }

    /// Takes everything that moves off the screen.
    fn hide(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One event a line.
#[derive(Debug)]
pub struct Json<W>(pub W);

impl<W: Write + Send> View for Json<W> {
    fn show(&mut self, stamped: &Stamped) -> io::Result<()> {
        let text = escape_json(&serde_json::to_string(stamped)?);
        writeln!(self.0, "{text}")?;
        self.0.flush()
    }
}

/// The running user interface; ends with [`Ui::finish`], or when dropped.
#[derive(Debug)]
pub struct Ui {
    screen: Screen,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ui {
    /// Shows what `receiver` brings on standard output. `resume` is the command
    /// that goes on after a failure.
    pub fn start(
        format: LogFormat,
        color: ColorChoice,
        resume: Option<String>,
        receiver: Receiver<Stamped>,
    ) -> Self {
        Self::with_view(view(Stream::Stdout, format, color, resume), receiver)
    }

    /// Shows what `receiver` brings on standard error, for commands whose own
    /// result (a plan, JSON) goes to standard output.
    pub(crate) fn start_beside(
        format: LogFormat,
        color: ColorChoice,
        receiver: Receiver<Stamped>,
    ) -> Self {
        Self::with_view(view(Stream::Stderr, format, color, None), receiver)
    }

    /// The same with a view of the caller's choice.
    pub fn with_view(view: Box<dyn View>, receiver: Receiver<Stamped>) -> Self {
        let console = Arc::new(Mutex::new(Console { receiver, view: Some(view) }));
        let screen = Screen(Some(console));
        let ending = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (screen, ending) = (screen.clone(), ending.clone());
            move || {
                loop {
                    // Read before the queue is emptied, so that nothing stays in it.
                    let last = ending.load(Ordering::Acquire);
                    screen.advance();
                    if last {
                        break;
                    }
                    std::thread::park_timeout(TICK);
                }
            }
        });
        Self { screen, ending, thread: Some(thread) }
    }

    /// The part of it that prompts hold.
    pub fn screen(&self) -> Screen {
        self.screen.clone()
    }

    /// Runs `f` with nothing moving on the screen.
    pub fn suspend<R>(&self, f: impl FnOnce() -> R) -> R {
        self.screen.suspend(f)
    }

    /// Shows what was emitted so far, ends the thread and leaves the terminal clean.
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.ending.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in the view was printed by its thread; the run's result stands.
            let _ = thread.join();
            self.screen.suspend(|| ());
        }
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        self.end();
    }
}

/// The view, and the events it has not seen; whoever locks it has the screen.
struct Console {
    receiver: Receiver<Stamped>,
    /// None when its stream broke.
    view: Option<Box<dyn View>>,
}

impl Console {
    fn attempt(&mut self, act: impl FnOnce(&mut dyn View) -> io::Result<()>) {
        if self.view.as_deref_mut().is_some_and(|view| act(view).is_err()) {
            self.view = None;
        }
    }

    fn drain(&mut self) {
        while let Ok(stamped) = self.receiver.try_recv() {
            self.attempt(|view| view.show(&stamped));
        }
    }
}

/// A hold on the screen: cheap to clone, safe to use from any thread.
#[derive(Clone)]
pub struct Screen(Option<Arc<Mutex<Console>>>);

impl Screen {
    /// A screen on which nothing moves: for commands that show no events.
    pub fn still() -> Self {
        Self(None)
    }

    /// Shows all events so far, takes what moves off the screen, and runs `f`.
    /// Not to be nested: `f` must not suspend again.
    pub(crate) fn suspend<R>(&self, f: impl FnOnce() -> R) -> R {
        let mut console = self.lock();
        if let Some(console) = console.as_deref_mut() {
            console.drain();
            console.attempt(|view| view.hide());
        }
        f()
    }

    fn advance(&self) {
        if let Some(mut console) = self.lock() {
            console.drain();
            console.attempt(|view| view.tick(Timestamp::now()));
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Console>> {
        self.0
            .as_ref()
            .map(|console| console.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Screen(live)" } else { "Screen(still)" })
    }
}

/// Where a view is written.
#[derive(Debug, Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

fn view(
    stream: Stream,
    format: LogFormat,
    color: ColorChoice,
    resume: Option<String>,
) -> Box<dyn View> {
    let (out, style, is_terminal, size): (Box<dyn Write + Send>, _, _, fn() -> live::Size) =
        match stream {
            Stream::Stdout => {
                let terminal = io::stdout().is_terminal();
                (Box::new(io::stdout()), Style::stdout(color), terminal, || size(&Term::stdout()))
            }
            Stream::Stderr => {
                let terminal = io::stderr().is_terminal();
                (Box::new(io::stderr()), Style::stderr(color), terminal, || size(&Term::stderr()))
            }
        };
    let can_move = is_terminal && !style::is_dumb();
    match format {
        LogFormat::Json => Box::new(Json(out)),
        LogFormat::Human => Box::new(Human::new(out, size, style, resume)),
        LogFormat::Auto if can_move => Box::new(Human::new(out, size, style, resume)),
        LogFormat::Plain | LogFormat::Auto => {
            Box::new(Plain::new(out, TimeZone::system(), style, resume))
        }
    }
}

/// The terminal's size, or what a terminal that does not tell is taken for.
fn size(term: &Term) -> live::Size {
    let (rows, columns) = term.size_checked().unwrap_or((24, 80));
    live::Size { rows: rows.into(), columns: columns.into() }
}
