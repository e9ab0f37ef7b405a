//! A command at work on a host: its context, the interface that shows it, and its one end.

use std::time::Instant;

use tempfile::TempDir;

use crate::error::{Exit, StepError};
use crate::run::event::Event;
use crate::steps::context::Context;
use crate::ui::Ui;

/// A run that is open. Commands get its context for their work and no more, so that none
/// leaves it without its end.
pub(super) struct Run {
    pub(super) cx: Context,
    ui: Ui,
    began: Instant,
    /// Removed at the end, where nothing of the run is kept.
    _folder: Option<TempDir>,
}

impl Run {
    pub(super) fn new(cx: Context, ui: Ui, folder: Option<TempDir>) -> Self {
        Self { cx, ui, began: Instant::now(), _folder: folder }
    }

    /// Ends it: the last event tells how, and everything that was told is shown.
    pub(super) fn finish(self, result: Result<Exit, StepError>) -> Result<Exit, StepError> {
        let exit = result.as_ref().map_or_else(|error| error.exit, |exit| *exit);
        let seconds = self.began.elapsed().as_secs_f64();
        self.cx.events.emit(Event::RunEnded { exit: exit as u8, seconds });
        self.ui.finish();
        result
    }
}
