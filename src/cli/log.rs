//! `landfall log`: the log of a host's run, whole or one step's part of it.
//!
//! An entry of the log begins with its time; the lines after it, up to the next
//! time, belong to it. What a step did carries `step=ID`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use crate::error::{Exit, StepError};
use crate::run::run_dir::{StateDir, StateError};
use crate::run::step::StepId;
use crate::ui::text::clean;

/// Prints the log of a host's run.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example: landfall log guppy copy")]
pub struct LogArgs {
    pub host: String,
    /// Only this step's part.
    pub step: Option<StepId>,
}

pub fn run(args: &LogArgs, state: &StateDir, out: &mut dyn Write) -> Result<Exit, StepError> {
    let run = state.host(&args.host)?.latest()?;
    let run = run.ok_or_else(|| StateError::NoRun { host: args.host.clone() })?;
    let path = run.log();
    match copy(&path, args.step, out) {
        // A reader that closed its end early (`| head`) has what it wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(StepError::new(
            format!("the log {} cannot be shown", path.display()),
            error.to_string(),
            "`landfall status` lists the runs there are.",
        )),
        _ => Ok(Exit::Done),
    }
}

/// What programs and machines said stands in the log as they said it.
fn copy(path: &Path, step: Option<StepId>, out: &mut dyn Write) -> io::Result<()> {
    let mut log = BufReader::new(File::open(path)?);
    let mut belongs = step.is_none();
    let mut line = Vec::new();
    while log.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        if let Some(step) = step
            && begins_entry(&text)
        {
            belongs = is_of(&text, step);
        }
        if belongs {
            out.write_all(clean(&text).as_bytes())?;
        }
        line.clear();
    }
    out.flush()
}

/// Whether `line` starts with a time, as 2026-11-23T07:57:13.
fn begins_entry(line: &str) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    line.len() >= SHAPE.len()
        && line.bytes().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            _ => byte == *shape,
        })
}

/// Whether `line` carries `step=ID`, with or without quotes around ID.
fn is_of(line: &str, step: StepId) -> bool {
    line.match_indices("step=").any(|(at, field)| {
        let starts = !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let value = line[at + field.len()..].trim_start_matches('"');
        let end = value.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(value.len());
        starts && value[..end] == *step.as_str()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_known_by_its_field_and_not_by_its_words() {
        let is_copy = |line| is_of(line, StepId::Copy);
        assert!(is_copy("2026-11-23T07:57:13Z INFO step{step=copy}: start"));
        assert!(is_copy("2026-11-23T07:57:13Z INFO step=\"copy\" start"));
        assert!(is_copy("x step=copy"));
        assert!(!is_copy("x step=copying"));
        assert!(!is_copy("x laststep=copy"));
        assert!(!is_copy("x step=disks the copy step"));
    }

    #[test]
    fn entries_begin_with_a_time() {
        assert!(begins_entry("2026-11-23T07:57:13.123Z  INFO x"));
        assert!(!begins_entry("error: 2026-11-23T07:57:13"));
        assert!(!begins_entry("2026-11-23"));
    }
}
