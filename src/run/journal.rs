//! The memory of a run: append-only JSON lines, each synced before work goes on.
//!
//! The journal holds step ids, evidence and errors; never secrets, never
//! serialized steps. The machines are the truth, so a torn last line (a crash in
//! the middle of a write) is tolerated. One process at a time writes a run: an
//! exclusive lock on the file, which the kernel releases when the process ends.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::facts::{FactsError, StepFacts};
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
    pub time: Timestamp,
    #[serde(flatten)]
    pub entry: Entry,
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("the journal {path} cannot be used: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("another landfall is working on this host (it holds {path})")]
    Locked { path: PathBuf },
    #[error("line {line} of the journal {path} is not understood: {source}")]
    Corrupt { path: PathBuf, line: usize, source: serde_json::Error },
}

impl Advice for JournalError {
    fn hint(&self) -> String {
        match self {
            Self::Io { path, .. } => format!("Make {} writable for you.", path.display()),
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
}

impl Journal {
    /// Opens or creates the journal at `path`, locks it and reads what is there.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let io = |source| JournalError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| JournalError::Locked { path: path.to_owned() })?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        let (lines, valid) = parse(&text, path)?;
        if valid < text.len() {
            file.set_len(valid as u64).map_err(io)?;
            file.seek(SeekFrom::End(0)).map_err(io)?;
        }
        Ok(Self { file, path: path.to_owned(), lines })
    }

    /// Writes `entry` and waits until it is on the disk.
    pub fn append(&mut self, entry: Entry) -> Result<(), JournalError> {
        let io = |source| JournalError::Io { path: self.path.clone(), source };
        let line = Line { time: Timestamp::now(), entry };
        let mut text = serde_json::to_string(&line).map_err(|error| io(error.into()))?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(io)?;
        self.file.sync_all().map_err(io)?;
        self.lines.push(line);
        Ok(())
    }

    pub fn lines(&self) -> &[Line] {
        &self.lines
    }
}

/// Reads a journal without locking it: for `status` and `log`.
pub fn read(path: &Path) -> Result<Vec<Line>, JournalError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| JournalError::Io { path: path.to_owned(), source })?;
    Ok(parse(&text, path)?.0)
}

/// The lines of `text`, and how many bytes of it are whole lines.
fn parse(text: &str, path: &Path) -> Result<(Vec<Line>, usize), JournalError> {
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let mut lines = Vec::new();
    for (index, line) in text[..whole].lines().enumerate() {
        lines.push(serde_json::from_str(line).map_err(|source| JournalError::Corrupt {
            path: path.to_owned(),
            line: index + 1,
            source,
        })?);
    }
    Ok((lines, whole))
}

/// The identity of the run that `lines` belong to.
pub fn identity(lines: &[Line]) -> Option<&RunIdentity> {
    lines.iter().find_map(|line| match &line.entry {
        Entry::Run(identity) => Some(identity),
        _ => None,
    })
}

/// The evidence with which `step` was last finished.
pub fn finished(lines: &[Line], step: StepId) -> Option<&Evidence> {
    lines.iter().rev().find_map(|line| match &line.entry {
        Entry::Finished { step: id, evidence, .. } if *id == step => Some(evidence),
        _ => None,
    })
}

/// What `step` last meant to do, whether or not it was finished.
pub fn intention(lines: &[Line], step: StepId) -> Option<&Evidence> {
    lines.iter().rev().find_map(|line| match &line.entry {
        Entry::Started { step: id, intention } if *id == step => Some(intention),
        _ => None,
    })
}

/// What a step left when it was last finished; none where it was not, or left nothing.
pub fn output<T: StepFacts>(lines: &[Line]) -> Result<Option<T>, FactsError> {
    finished(lines, T::STEP).map_or(Ok(None), Evidence::read)
}

/// What a step last meant to do, in its own form.
pub fn intended<T: StepFacts>(lines: &[Line]) -> Result<Option<T>, FactsError> {
    intention(lines, T::STEP).map_or(Ok(None), Evidence::read)
}

/// The settings with which the run was last worked on.
pub fn settings(lines: &[Line]) -> Option<&BTreeMap<String, String>> {
    lines.iter().rev().find_map(|line| match &line.entry {
        Entry::Settings { settings } => Some(settings),
        _ => None,
    })
}

/// Whether the whole journey was completed.
pub fn completed(lines: &[Line]) -> bool {
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
        let lines = read(&path).unwrap();
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
        assert_eq!(read(&path).unwrap().len(), 2);
    }

    #[test]
    fn a_corrupt_line_in_the_middle_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        std::fs::write(&path, "nonsense\n{}\n").unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Corrupt { line: 1, .. })));
    }

    #[test]
    fn a_second_writer_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let _first = Journal::open(&path).unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Locked { .. })));
    }
}
