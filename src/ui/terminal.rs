//! The terminal that questions are asked on: read so that a wait for an answer ends.
//!
//! A reader of the terminal hears neither a signal nor the end of the terminal by itself.
//! So it works on a thread of its own, and whoever asked watches: the answer, the user's
//! wish to end, and a terminal that was closed, which is such a wish. The invariant: when
//! the wait is over, however it ended, the terminal is as it was before the question.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr};

use crate::exec;

const TTY: &str = "/dev/tty";
/// How often the terminal and the user's wish to end are looked at.
const TICK: Duration = Duration::from_millis(50);
const SHOW_CURSOR: &str = "\x1b[?25h";

/// The terminal as it was before the question that is being asked now.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Says whether there is a terminal to ask on.
pub(crate) fn is_there() -> bool {
    File::open(TTY).is_ok()
}

/// Runs `ask`, which reads the terminal, on a thread of its own.
///
/// Ends with an error of the kind [`io::ErrorKind::Interrupted`] when the user wants the
/// command to end, or when the terminal was closed: then the command is interrupted, too.
/// The reader that is left behind ends with the process, which asks nothing any more.
pub(crate) fn ask<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    // A terminal that was closed cannot be opened again.
    if exec::interrupted() {
        return Err(io::ErrorKind::Interrupted.into());
    }
    let tty = File::open(TTY)?;
    let _restored = Restored::remember(&tty)?;
    // What was typed before the question was seen does not answer it.
    tcflush(&tty, QueueSelector::IFlush)?;
    let (sender, answers) = mpsc::channel();
    std::thread::spawn(move || sender.send(ask()));
    loop {
        let answer = answers.recv_timeout(TICK);
        if is_closed(&tty) {
            exec::interrupt();
        }
        if exec::interrupted() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match answer {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the question broke off"));
            }
        }
    }
}

/// Puts the terminal back as it was before the question that is being asked, if there is one.
pub fn restore() {
    if let (Some(before), Ok(tty)) = (before().take(), File::options().write(true).open(TTY)) {
        put_back(&tty, &before);
    }
}

fn is_closed(tty: &File) -> bool {
    let mut files = [PollFd::new(tty, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut files, Some(&at_once)).is_ok()
        && files[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
}

fn before() -> MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put_back(tty: &File, before: &Termios) {
    // A terminal that is gone needs nothing back.
    let _ = tcsetattr(tty, OptionalActions::Now, before);
}

/// Puts the terminal back when it is dropped.
struct Restored<'a>(&'a File);

impl<'a> Restored<'a> {
    fn remember(tty: &'a File) -> io::Result<Self> {
        *before() = Some(tcgetattr(tty)?);
        Ok(Self(tty))
    }
}

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        let Some(before) = before().take() else { return };
        put_back(self.0, &before);
        if exec::interrupted() {
            // The reader hid the cursor, and stands in the middle of a line.
            let _ = write!(io::stderr(), "{SHOW_CURSOR}\r\n");
        }
    }
}
