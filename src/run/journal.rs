//! The memory of a run: append-only JSON lines, each synced before work goes on.
//!
//! The journal holds step ids, evidence and errors; never secrets, never
//! serialized steps. The machines are the truth, so a torn last line (a crash in
//! the middle of a write) is dropped, and a write that fails is cut back: the lines
//! before it and after it stay whole. A line that is not understood keeps a run from
//! being gone on with, and nothing else: the other lines are read all the same. One
//! process at a time writes a run, by a lock on the file.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::facts::{FactsError, StepFacts};
use super::lock::{self, LockError};
use super::step::{Evidence, StepId};
use crate::error::{Advice, Exit};

/// What identifies a run: another value of any of these is another run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunIdentity {
    /// UUID of the run, also written to the disks as their GPT disk GUID.
    pub run: uuid::Uuid,
    pub host: String,
    pub strategy: String,
    pub target: String,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Entry {
    Run(RunIdentity),
    Started {
        step: StepId,
        intention: Evidence,
    },
    Finished {
        step: StepId,
        evidence: Evidence,
        seconds: f64,
    },
    Failed {
        step: StepId,
        what: String,
        why: String,
        hint: String,
        seconds: f64,
    },
    /// What the flags and settings came to, whenever that changed.
    Settings {
        settings: BTreeMap<String, String>,
    },
    /// The whole journey was done.
    Completed,
}

/// An entry and the time at which it was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub(crate) time: Timestamp,
    #[serde(flatten)]
    pub(crate) entry: Entry,
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("the journal {path} cannot be used: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("another landfall is working on this host (it holds {path})")]
    Locked { path: PathBuf },
    #[error("the file system of {path} gives no locks: {source}")]
    NoLocks { path: PathBuf, source: io::Error },
    #[error("line {line} of the journal {path} is not understood: {source}")]
    Corrupt { path: PathBuf, line: usize, source: serde_json::Error },
}

impl Advice for JournalError {
    fn hint(&self) -> String {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "Make room on that disk, then run the command again.".into()
            }
            Self::Io { path, .. } => format!("Make {} writable for you.", path.display()),
            Self::NoLocks { .. } => {
                "Without locks two runs could change one machine. Keep the runs on a local disk: set XDG_STATE_HOME to a folder there.".into()
            }
            Self::Locked { .. } => "Wait until it ends, or end it, then run the command again.".into(),
            Self::Corrupt { .. } => {
                "Was it written by a newer landfall? `landfall abandon HOST` forgets the run; the disks stay as they are.".into()
            }
        }
    }

    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// An open, locked journal.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    lines: Vec<Line>,
    /// How many bytes of the file are whole lines.
    length: u64,
}

/// What a journal tells.
#[derive(Debug, Default)]
pub struct Readable {
    pub lines: Vec<Line>,
    /// Why the lines are not all: the first one that is not understood.
    pub unreadable: Option<JournalError>,
}

impl Journal {
    /// Opens or creates the journal at `path`, locks it and reads what is there; refuses
    /// one with a line that is not understood.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        match Self::open_readable(path)? {
            (journal, None) => Ok(journal),
            (_, Some(error)) => Err(error),
        }
    }

    /// Opens and locks the journal at `path` with the lines that can be read, and says
    /// why these are not all: to forget a run is possible whatever became of its journal.
    pub(crate) fn open_readable(path: &Path) -> Result<(Self, Option<JournalError>), JournalError> {
        let io = |source| JournalError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        lock::exclusive(&file).map_err(|error| unlocked(path, error))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io)?;
        let (Readable { lines, unreadable }, whole) = parse(&text, path);
        let length = whole as u64;
        let journal = Self { file, path: path.to_owned(), lines, length };
        if whole < text.len() {
            journal.cut_back().map_err(io)?;
        }
        Ok((journal, unreadable))
    }

    /// Writes `entry` and waits until it is on the disk. What a failed write left is cut
    /// off, at once or before the next one.
    pub fn append(&mut self, entry: Entry) -> Result<(), JournalError> {
        let line = Line { time: Timestamp::now(), entry };
        let mut text = serde_json::to_string(&line).map_err(|error| self.io(error.into()))?;
        text.push('\n');
        self.write(text.as_bytes()).map_err(|error| {
            // The disk may refuse this too: then the next write tries it first.
            let _ = self.cut_back();
            self.io(error)
        })?;
        self.lines.push(line);
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.file.metadata()?.len() != self.length {
            self.cut_back()?;
        }
        self.file.write_all(line)?;
        self.file.sync_all()?;
        self.length += line.len() as u64;
        Ok(())
    }

    fn cut_back(&self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.sync_all()
    }

    fn io(&self, source: io::Error) -> JournalError {
        JournalError::Io { path: self.path.clone(), source }
    }

    pub fn lines(&self) -> &[Line] {
        &self.lines
    }
}

fn unlocked(path: &Path, error: LockError) -> JournalError {
    let path = path.to_owned();
    match error {
        LockError::Held => JournalError::Locked { path },
        LockError::Unsupported(source) => JournalError::NoLocks { path, source },
    }
}

/// Reads a journal without locking it, for commands that only look.
pub fn read(path: &Path) -> Result<Readable, JournalError> {
    let text =
        std::fs::read(path).map_err(|source| JournalError::Io { path: path.to_owned(), source })?;
    Ok(parse(&text, path).0)
}

/// The lines of `text`, and how many bytes of it are whole lines.
fn parse(text: &[u8], path: &Path) -> (Readable, usize) {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let mut readable = Readable::default();
    for (index, line) in text[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(line) => readable.lines.push(line),
            Err(source) => {
                let error =
                    JournalError::Corrupt { path: path.to_owned(), line: index + 1, source };
                readable.unreadable.get_or_insert(error);
            }
        }
    }
    (readable, whole)
}

/// The identity of the run that `lines` belong to.
pub(crate) fn identity(lines: &[Line]) -> Option<&RunIdentity> {
    lines.iter().find_map(|line| match &line.entry {
        Entry::Run(identity) => Some(identity),
        _ => None,
    })
}

/// The evidence with which `step` was last finished.
pub(crate) fn finished(lines: &[Line], step: StepId) -> Option<&Evidence> {
    lines.iter().rev().find_map(|line| match &line.entry {
        Entry::Finished { step: id, evidence, .. } if *id == step => Some(evidence),
        _ => None,
    })
}

/// What `step` last meant to do, whether or not it was finished.
pub(crate) fn intention(lines: &[Line], step: StepId) -> Option<&Evidence> {
    lines.iter().rev().find_map(|line| match &line.entry {
        Entry::Started { step: id, intention } if *id == step => Some(intention),
        _ => None,
    })
}

/// What a step left when it was last finished; none where it was not, or left nothing.
pub(crate) fn output<T: StepFacts>(lines: &[Line]) -> Result<Option<T>, FactsError> {
    finished(lines, T::STEP).map_or(Ok(None), Evidence::read)
}

/// What a step last meant to do, in its own form.
pub(crate) fn intended<T: StepFacts>(lines: &[Line]) -> Result<Option<T>, FactsError> {
    intention(lines, T::STEP).map_or(Ok(None), Evidence::read)
}

/// The settings with which the run was last worked on.
pub(crate) fn settings(lines: &[Line]) -> Option<&BTreeMap<String, String>> {
    lines.iter().rev().find_map(|line| match &line.entry {
        Entry::Settings { settings } => Some(settings),
        _ => None,
    })
}

/// Whether the whole journey was completed.
pub(crate) fn completed(lines: &[Line]) -> bool {
    lines.iter().any(|line| line.entry == Entry::Completed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(step: StepId) -> Entry {
        Entry::Started { step, intention: Evidence::new("x") }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        journal.append(started(StepId::Disks)).unwrap();
        let evidence = Evidence::new("formatted").with("serial", "S1");
        journal
            .append(Entry::Finished {
                step: StepId::Disks,
                evidence: evidence.clone(),
                seconds: 1.5,
            })
            .unwrap();
        drop(journal);
        let lines = read(&path).unwrap().lines;
        assert_eq!(finished(&lines, StepId::Disks), Some(&evidence));
        assert!(intention(&lines, StepId::Copy).is_none());
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_the_next_line_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        journal.append(started(StepId::Disks)).unwrap();
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"time\":\"2026").unwrap();
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.lines().len(), 1);
        journal.append(started(StepId::Copy)).unwrap();
        drop(journal);
        assert_eq!(read(&path).unwrap().lines.len(), 2);
    }

    #[test]
    fn a_corrupt_line_in_the_middle_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        journal.append(started(StepId::Disks)).unwrap();
        drop(journal);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&good, &b"\xff\0\n"[..], &good].concat()).unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Corrupt { line: 2, .. })));
        let readable = read(&path).unwrap();
        assert_eq!(readable.lines.len(), 2);
        assert!(matches!(readable.unreadable, Some(JournalError::Corrupt { line: 2, .. })));
    }

    #[test]
    fn a_second_writer_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let _first = Journal::open(&path).unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Locked { .. })));
    }
}
