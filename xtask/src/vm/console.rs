//! A machine's serial console, read and typed as a person would.
//!
//! What was printed is read from QEMU's log, which misses nothing whoever is connected;
//! the socket is for typing. A thread drains the socket, because a full one would stop
//! the guest at its next line.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use regex::Regex;

use crate::process::{interrupted, tail};

const POLL: Duration = Duration::from_millis(100);

/// A connection to a console, and how far its log was read.
pub(crate) struct Console {
    socket: UnixStream,
    log: PathBuf,
    /// Bytes of the log that earlier waits have passed.
    seen: u64,
}

impl Console {
    /// Connects to the console; waiting begins at the start of the log.
    pub(crate) fn open(socket: &Path, log: &Path) -> Result<Console> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("cannot reach the console at {}", socket.display()))?;
        let mut drained = stream.try_clone()?;
        std::thread::spawn(move || {
            let mut scrap = [0; 4096];
            while matches!(drained.read(&mut scrap), Ok(count) if count > 0) {}
        });
        Ok(Console { socket: stream, log: log.to_path_buf(), seen: 0 })
    }

    /// Skips everything that was printed so far.
    pub(crate) fn skip_to_end(&mut self) -> Result<()> {
        self.seen = std::fs::metadata(&self.log)?.len();
        Ok(())
    }

    /// Looks once for a pattern in what earlier waits have not passed, and passes it. Gives the
    /// match's first group, else the whole match.
    pub(crate) fn find(&mut self, pattern: &Regex) -> Result<Option<String>> {
        let fresh = self.unseen()?;
        let text = String::from_utf8_lossy(&fresh);
        let Some(found) = pattern.captures(&text) else { return Ok(None) };
        let whole = found.get(0).context("a match without text")?;
        let wanted = found.get(1).unwrap_or(whole).as_str().to_string();
        // Counted in bytes as they stand in the log, not as they were decoded.
        let passed = text[..whole.end()].chars().map(bytes_in_log).sum::<u64>();
        self.seen += passed.min(fresh.len() as u64);
        Ok(Some(wanted))
    }

    /// Waits for a pattern, and gives what [`Console::find`] gives.
    pub(crate) fn wait_for(&mut self, pattern: &Regex, deadline: Duration) -> Result<String> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(found) = self.find(pattern)? {
                return Ok(found);
            }
            if interrupted() {
                bail!("interrupted");
            }
            if Instant::now() > end {
                let said = self.last_lines()?;
                bail!(
                    "the console did not show /{pattern}/ within {} s; its last lines:\n{said}",
                    deadline.as_secs()
                );
            }
            std::thread::sleep(POLL);
        }
    }

    /// Types a line and the return key.
    pub(crate) fn type_line(&mut self, line: &str) -> Result<()> {
        self.socket.write_all(format!("{line}\r").as_bytes()).context("cannot type on the console")
    }

    fn unseen(&self) -> Result<Vec<u8>> {
        let mut log =
            File::open(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        log.seek(SeekFrom::Start(self.seen))?;
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn last_lines(&self) -> Result<String> {
        let text = std::fs::read(&self.log)?;
        let text = String::from_utf8_lossy(&text);
        Ok(tail(&text))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // Ends the draining thread too.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// Counts the bytes that a decoded character takes in the log. A replacement character stands
/// for one undecodable byte (more only for a torn sequence, where passing too little merely
/// looks at some bytes again).
fn bytes_in_log(character: char) -> u64 {
    if character == char::REPLACEMENT_CHARACTER { 1 } else { character.len_utf8() as u64 }
}
