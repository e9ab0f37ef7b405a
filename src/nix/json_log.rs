//! Parser of nix's `internal-json` log: counts progress, and returns messages.
//!
//! The format is that of `JSONLogger` in nix's `src/libutil/logging.cc`; the
//! numbers of activities and results are in `logging.hh` beside it. Copying
//! some hundred megabytes prints more than a hundred thousand lines, so a line
//! only changes counters; the caller decides how often to show them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::run::event::Progress;

const COPY_PATH: u64 = 100;
const COPY_PATHS: u64 = 103;
const BUILDS: u64 = 104;
const BUILD: u64 = 105;

const BUILD_LOG_LINE: u64 = 101;
const PROGRESS: u64 = 105;
const SET_EXPECTED: u64 = 106;
const POST_BUILD_LOG_LINE: u64 = 107;

/// The meaning of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LogLine {
    /// Progress counters may have changed.
    Progress,
    /// An error, a warning, a trace, or a notice; see [`Message::level`].
    Message(Message),
    /// A line that a builder printed.
    BuildLog(String),
    /// Not in this format: for example from a program that nix started.
    NotNix,
}

/// A message of nix to its user, without colours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// nix's verbosity level: 0 error (and trace), 1 warning, 2 notice, 3 info, 4 to 7 details.
    pub(crate) level: u64,
    pub(crate) text: String,
}

/// The state of nix's activities after the lines read so far.
#[derive(Debug, Default)]
pub(super) struct JsonLog {
    activities: BTreeMap<u64, Activity>,
    /// Sums of the activities that ended.
    ended: Counts,
    current: Option<(Work, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Copy,
    Build,
}

#[derive(Debug, Default)]
struct Activity {
    kind: u64,
    done: u64,
    expected: u64,
    /// Total bytes of the copies below this activity, as it announced them.
    expected_bytes: u64,
    name: String,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    bytes_done: u64,
    bytes_expected: u64,
    paths_done: u64,
    paths_expected: u64,
    builds_done: u64,
    builds_expected: u64,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(default)]
    id: u64,
    #[serde(default, rename = "type")]
    kind: u64,
    #[serde(default)]
    level: u64,
    #[serde(default)]
    fields: Vec<Value>,
    #[serde(default, borrow)]
    msg: Cow<'a, str>,
}

impl JsonLog {
    /// Reads one line of standard error.
    pub(super) fn read_line(&mut self, line: &str) -> LogLine {
        let Some(json) = line.strip_prefix("@nix ") else { return LogLine::NotNix };
        let Ok(line) = serde_json::from_str::<Line>(json) else { return LogLine::NotNix };
        match &*line.action {
            "start" => self.start(&line),
            "stop" => self.stop(line.id),
            "result" => return self.result(&line),
            "msg" => {
                return LogLine::Message(Message {
                    level: line.level,
                    text: without_colours(&line.msg),
                });
            }
            _ => {}
        }
        LogLine::Progress
    }

    fn start(&mut self, line: &Line) {
        let path = line.fields.first().and_then(Value::as_str).unwrap_or_default();
        let activity = Activity { kind: line.kind, name: short(path), ..Activity::default() };
        match line.kind {
            COPY_PATH => self.current = Some((Work::Copy, activity.name.clone())),
            BUILD => self.current = Some((Work::Build, activity.name.clone())),
            COPY_PATHS | BUILDS => {}
            _ => return,
        }
        self.activities.insert(line.id, activity);
    }

    fn stop(&mut self, id: u64) {
        let Some(activity) = self.activities.remove(&id) else { return };
        self.ended.add(&activity);
        let work = match activity.kind {
            COPY_PATH => Work::Copy,
            BUILD => Work::Build,
            _ => return,
        };
        if self.current == Some((work, activity.name)) {
            self.current = self.running(work);
        }
    }

    /// Returns a running activity of the same kind of work.
    fn running(&self, work: Work) -> Option<(Work, String)> {
        let kind = if work == Work::Copy { COPY_PATH } else { BUILD };
        let other = self.activities.values().rev().find(|activity| activity.kind == kind)?;
        Some((work, other.name.clone()))
    }

    fn result(&mut self, line: &Line) -> LogLine {
        let number = |index: usize| line.fields.get(index).and_then(Value::as_u64).unwrap_or(0);
        match line.kind {
            BUILD_LOG_LINE | POST_BUILD_LOG_LINE => {
                let text = line.fields.first().and_then(Value::as_str).unwrap_or_default();
                return LogLine::BuildLog(without_colours(text));
            }
            PROGRESS => {
                if let Some(activity) = self.activities.get_mut(&line.id) {
                    activity.done = number(0);
                    activity.expected = number(1);
                }
            }
            SET_EXPECTED if number(0) == COPY_PATH => {
                if let Some(activity) = self.activities.get_mut(&line.id) {
                    activity.expected_bytes = number(1);
                }
            }
            _ => {}
        }
        LogLine::Progress
    }

    /// Sums up the progress of all activities.
    pub(super) fn progress(&self) -> Progress {
        let mut counts = self.ended;
        for activity in self.activities.values() {
            counts.add(activity);
        }
        let label = match &self.current {
            Some((Work::Copy, name)) => format!("copying {name}"),
            Some((Work::Build, name)) => format!("building {name}"),
            None => String::new(),
        };
        let copying = counts.bytes_expected > 0;
        let building = counts.builds_expected > 0;
        let (done, total) = if building {
            (counts.builds_done, counts.builds_expected)
        } else {
            (counts.paths_done, counts.paths_expected)
        };
        Progress {
            label,
            bytes_done: copying.then(|| counts.bytes_done.min(counts.bytes_expected)),
            bytes_total: copying.then_some(counts.bytes_expected),
            items_done: (total > 0).then_some(done),
            items_total: (total > 0).then_some(total),
        }
    }
}

impl Counts {
    /// Adds the counts of an activity; sums saturate, because the input is not trusted.
    fn add(&mut self, activity: &Activity) {
        let (done, expected) = match activity.kind {
            COPY_PATH => (&mut self.bytes_done, None),
            COPY_PATHS => (&mut self.paths_done, Some(&mut self.paths_expected)),
            BUILDS => (&mut self.builds_done, Some(&mut self.builds_expected)),
            _ => return,
        };
        *done = done.saturating_add(activity.done);
        if let Some(expected) = expected {
            *expected = expected.saturating_add(activity.expected);
        }
        self.bytes_expected = self.bytes_expected.saturating_add(activity.expected_bytes);
    }
}

/// Shortens `/nix/store/HASH-hello-2.12.drv` to `hello-2.12`.
fn short(path: &str) -> String {
    let base = path.rsplit('/').next().unwrap_or(path);
    let name = base.split_once('-').map_or(base, |(_, name)| name);
    name.strip_suffix(".drv").unwrap_or(name).to_owned()
}

/// Removes ANSI escape sequences.
pub(super) fn without_colours(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            clean.push(c);
            continue;
        }
        if chars.next() == Some('[') {
            // A control sequence ends with a character from @ to ~.
            for c in chars.by_ref() {
                if ('@'..='~').contains(&c) {
                    break;
                }
            }
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(lines: &[&str]) -> Progress {
        let mut log = JsonLog::default();
        for line in lines {
            log.read_line(line);
        }
        log.progress()
    }

    const COPY: &[&str] = &[
        r#"@nix {"action":"start","id":5,"level":0,"parent":0,"text":"","type":103}"#,
        r#"@nix {"action":"stop","id":5}"#,
        r#"@nix {"action":"start","id":6,"level":3,"parent":0,"text":"copying 3 paths","type":103}"#,
        r#"@nix {"action":"result","fields":[100,1000],"id":6,"type":106}"#,
        r#"@nix {"action":"result","fields":[0,3,1,0],"id":6,"type":105}"#,
        r#"@nix {"action":"start","fields":["/nix/store/4r7s3czzn473a709q3xhw4lpq4iq725k-big-1.0","unix://","local://"],"id":7,"level":3,"parent":6,"text":"copying path","type":100}"#,
        r#"@nix {"action":"result","fields":[400,900,0,0],"id":7,"type":105}"#,
    ];

    #[test]
    fn copies_count_bytes_and_paths() {
        assert_eq!(
            after(COPY),
            Progress {
                label: "copying big-1.0".into(),
                bytes_done: Some(400),
                bytes_total: Some(1000),
                items_done: Some(0),
                items_total: Some(3),
            }
        );
    }

    #[test]
    fn ended_activities_stay_counted() {
        let mut lines = COPY.to_vec();
        lines.extend([
            r#"@nix {"action":"result","fields":[900,900,0,0],"id":7,"type":105}"#,
            r#"@nix {"action":"stop","id":7}"#,
            r#"@nix {"action":"result","fields":[1,3,0,0],"id":6,"type":105}"#,
        ]);
        let progress = after(&lines);
        assert_eq!(progress.bytes_done, Some(900));
        assert_eq!(progress.items_done, Some(1));
        assert_eq!(progress.label, "");
    }

    #[test]
    fn builds_count_derivations() {
        let progress = after(&[
            r#"@nix {"action":"start","id":1,"level":0,"parent":0,"text":"","type":104}"#,
            r#"@nix {"action":"result","fields":[1,2,1,0],"id":1,"type":105}"#,
            r#"@nix {"action":"start","fields":["/nix/store/n01y7s6l6s49xq2x6j44kj2h86ph0jqw-hello-1.0.drv","",1,1],"id":2,"level":3,"parent":0,"text":"building","type":105}"#,
        ]);
        assert_eq!(progress.label, "building hello-1.0");
        assert_eq!((progress.items_done, progress.items_total), (Some(1), Some(2)));
        assert_eq!(progress.bytes_total, None);
    }

    #[test]
    fn messages_and_builders_lines_come_without_colours() {
        let mut log = JsonLog::default();
        assert_eq!(
            log.read_line(
                "@nix {\"action\":\"msg\",\"level\":0,\"msg\":\"\\u001b[31;1merror:\\u001b[0m x\"}"
            ),
            LogLine::Message(Message { level: 0, text: "error: x".into() })
        );
        assert_eq!(
            log.read_line(r#"@nix {"action":"result","fields":["boom"],"id":3,"type":101}"#),
            LogLine::BuildLog("boom".into())
        );
        assert_eq!(log.read_line("warning: plain"), LogLine::NotNix);
        assert_eq!(log.read_line("@nix {"), LogLine::NotNix);
    }

    #[test]
    fn numbers_out_of_range_do_no_harm() {
        let huge = u64::MAX;
        let lines = [
            r#"@nix {"action":"start","id":1,"type":103}"#.to_owned(),
            format!(r#"@nix {{"action":"result","fields":[{huge},{huge}],"id":1,"type":105}}"#),
            format!(r#"@nix {{"action":"result","fields":[100,{huge}],"id":1,"type":106}}"#),
            r#"@nix {"action":"start","id":2,"type":103}"#.to_owned(),
            format!(r#"@nix {{"action":"result","fields":[{huge},-1],"id":2,"type":105}}"#),
            r#"@nix {"action":"result","fields":[],"id":2,"type":105}"#.to_owned(),
            r#"@nix {"action":"result","fields":[1.5,"x"],"id":9,"type":105}"#.to_owned(),
        ];
        let mut log = JsonLog::default();
        for line in &lines {
            log.read_line(line);
        }
        assert_eq!(log.progress().items_total, Some(huge));
    }

    proptest! {
        #[test]
        fn no_line_breaks_the_reader(lines in proptest::collection::vec(".{0,80}", 0..20)) {
            let mut log = JsonLog::default();
            for line in lines {
                log.read_line(&line);
                log.read_line(&format!("@nix {line}"));
                without_colours(&line);
            }
            log.progress();
        }

        #[test]
        fn no_sequence_of_events_breaks_the_counters(
            events in proptest::collection::vec((0u8..4, 0u64..4, 99u64..108, any::<[u64; 2]>()), 0..60)
        ) {
            let mut log = JsonLog::default();
            for (action, id, kind, [a, b]) in events {
                let action = ["start", "stop", "result", "msg"][usize::from(action)];
                log.read_line(&format!(
                    r#"@nix {{"action":"{action}","id":{id},"type":{kind},"fields":[{a},{b}]}}"#
                ));
                let progress = log.progress();
                prop_assert!(progress.bytes_done <= progress.bytes_total);
            }
        }
    }
}
