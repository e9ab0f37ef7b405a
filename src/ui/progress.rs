//! How far, how fast, how long yet: figures and a bar for long work.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::style::Style;
use super::text::{bytes, bytes_of, duration};
use crate::run::event::Progress;
use crate::run::step::StepId;

/// Speed is taken over this many seconds: long enough to be calm, short enough to be true.
const WINDOW_SECONDS: f64 = 10.0;
/// Samples closer than this tell nothing new.
const SAMPLE_SECONDS: f64 = 0.25;
/// Before this much of the window is known, no time left is told.
const SURE_SECONDS: f64 = 2.0;

/// The latest progress of a step, and the samples its speed comes from.
#[derive(Debug)]
pub(crate) struct Tracker {
    /// What the items are, as " paths".
    unit: &'static str,
    latest: Progress,
    samples: VecDeque<(Timestamp, u64)>,
}

impl Tracker {
    pub(crate) fn new(step: Option<StepId>) -> Self {
        let unit = match step {
            Some(StepId::Copy | StepId::Build | StepId::Rebuild) => " paths",
            Some(StepId::Secrets | StepId::Repos) => " files",
            _ => "",
        };
        Self { unit, latest: Progress::default(), samples: VecDeque::new() }
    }

    pub(crate) fn update(&mut self, time: Timestamp, progress: &Progress) {
        let amount = amount(progress);
        // Another piece of work in the same step starts from nothing.
        if self.samples.back().is_some_and(|(_, last)| amount < *last) {
            self.samples.clear();
        }
        self.latest = progress.clone();
        if self.samples.back().is_none_or(|(last, _)| since(*last, time) >= SAMPLE_SECONDS) {
            self.samples.push_back((time, amount));
        }
        while self.samples.len() > 2 && since(self.samples[1].0, time) >= WINDOW_SECONDS {
            self.samples.pop_front();
        }
    }

    /// The share that is done, 0 to 1, where the whole is known.
    pub(crate) fn share(&self) -> Option<f64> {
        let of = |done: Option<u64>, total: Option<u64>| match (done, total) {
            (Some(done), Some(total)) if total > 0 => Some((done as f64 / total as f64).min(1.0)),
            _ => None,
        };
        let latest = &self.latest;
        of(latest.bytes_done, latest.bytes_total)
            .or_else(|| of(latest.items_done, latest.items_total))
    }

    /// Bytes (or items, where there are no bytes) a second.
    fn speed(&self) -> Option<f64> {
        let ((from, before), (to, now)) = (self.samples.front()?, self.samples.back()?);
        let seconds = since(*from, *to);
        (seconds >= SURE_SECONDS && now > before).then(|| (now - before) as f64 / seconds)
    }

    fn seconds_left(&self) -> Option<f64> {
        let latest = &self.latest;
        let total =
            if latest.bytes_done.is_some() { latest.bytes_total } else { latest.items_total };
        let left = total?.checked_sub(amount(latest)).filter(|left| *left > 0)?;
        Some(left as f64 / self.speed()?)
    }

    /// `121/238 MiB, 34/52 paths, 9.8 MiB/s, 12s left`: what is known of it.
    pub(crate) fn figures(&self) -> String {
        let latest = &self.latest;
        let mut parts = Vec::new();
        match (latest.bytes_done, latest.bytes_total) {
            (Some(done), Some(total)) => parts.push(bytes_of(done, total)),
            (Some(done), None) => parts.push(bytes(done)),
            _ => {}
        }
        match (latest.items_done, latest.items_total) {
            (Some(done), Some(total)) => parts.push(format!("{done}/{total}{}", self.unit)),
            (Some(done), None) => parts.push(format!("{done}{}", self.unit)),
            _ => {}
        }
        if let (Some(_), Some(speed)) = (latest.bytes_done, self.speed()) {
            parts.push(format!("{}/s", bytes(speed as u64)));
        }
        if let Some(seconds) = self.seconds_left() {
            parts.push(format!("{} left", duration(seconds.max(1.0))));
        }
        parts.join(", ")
    }

    pub(crate) fn label(&self) -> String {
        self.latest.label.clone()
    }
}

/// What is counted: bytes, else items.
fn amount(progress: &Progress) -> u64 {
    progress.bytes_done.or(progress.items_done).unwrap_or(0)
}

/// Seconds from `from` to `to`, not below zero.
pub(crate) fn since(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

/// A bar of `columns` columns with `share` of it filled.
pub(crate) fn bar(share: f64, columns: usize, style: Style) -> String {
    let halves = (share.clamp(0.0, 1.0) * (columns * 2) as f64).floor() as usize;
    let mut filled = "━".repeat(halves / 2);
    if halves % 2 == 1 {
        filled.push('╸');
    }
    let rest = "─".repeat(columns - halves.div_ceil(2));
    format!("{}{}", style.active(&filled), style.dim(&rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + (seconds * 1000.0) as i64).unwrap()
    }

    fn copied(mebibytes: u64, paths: u64) -> Progress {
        Progress {
            label: "copying".into(),
            bytes_done: Some(mebibytes << 20),
            bytes_total: Some(238 << 20),
            items_done: Some(paths),
            items_total: Some(52),
        }
    }

    #[test]
    fn speed_and_time_left_come_from_the_last_seconds() {
        let mut tracker = Tracker::new(Some(StepId::Copy));
        tracker.update(at(0.0), &copied(0, 0));
        assert_eq!(tracker.figures(), "0/238 MiB, 0/52 paths");
        for second in 1..=30 {
            tracker.update(at(f64::from(second)), &copied(u64::from(second as u32) * 4, 10));
        }
        assert_eq!(tracker.figures(), "120/238 MiB, 10/52 paths, 4.0 MiB/s, 30s left");
        assert_eq!(tracker.share(), Some(120.0 / 238.0));
    }

    #[test]
    fn the_next_piece_of_work_has_its_own_speed() {
        let mut tracker = Tracker::new(Some(StepId::Copy));
        tracker.update(at(0.0), &copied(0, 0));
        tracker.update(at(5.0), &copied(200, 40));
        tracker.update(at(6.0), &copied(1, 1));
        assert_eq!(tracker.figures(), "1/238 MiB, 1/52 paths");
    }

    #[test]
    fn unknown_totals_are_left_out() {
        let mut tracker = Tracker::new(Some(StepId::Copy));
        let progress = Progress { bytes_done: Some(3 << 20), ..Progress::default() };
        tracker.update(at(0.0), &progress);
        assert_eq!(tracker.figures(), "3.0 MiB");
        assert_eq!(tracker.share(), None);
        tracker.update(at(1.0), &Progress { label: "thinking".into(), ..Progress::default() });
        assert_eq!((tracker.figures().as_str(), tracker.label().as_str()), ("", "thinking"));
    }

    #[test]
    fn bars_fill_by_halves() {
        assert_eq!(bar(0.0, 4, Style::PLAIN), "────");
        assert_eq!(bar(0.4, 4, Style::PLAIN), "━╸──");
        assert_eq!(bar(1.0, 4, Style::PLAIN), "━━━━");
        assert_eq!(bar(7.0, 4, Style::PLAIN), "━━━━");
    }
}
