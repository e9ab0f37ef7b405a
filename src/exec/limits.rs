//! How much a command may print: what runs on a target may be broken, or meant to harm.

/// Pieces of a command's output that wait to be taken.
pub(crate) const WAITING: usize = 4;
/// How much of standard error is kept for errors: its end tells most.
const STDERR: usize = 1 << 20;

/// Bounds on what a command prints, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Of standard output as a whole.
    pub(crate) kept: usize,
    /// Of one line.
    pub(crate) line: usize,
    /// Of standard error in the log.
    pub(crate) logged: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { kept: 16 << 20, line: 4 << 20, logged: 64 << 20 }
    }
}

impl Limits {
    /// Adds `line` to what is kept of standard error; the oldest lines give way.
    pub(crate) fn keep_end(self, stderr: &mut String, line: &str) {
        stderr.push_str(line);
        stderr.push('\n');
        if stderr.len() > 2 * STDERR {
            let from = stderr.len() - STDERR;
            let bytes = &stderr.as_bytes()[from..];
            // The last byte ends a line; where no other does, one long line is all.
            let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len() - 1);
            stderr.drain(..=from + end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_standard_error_is_kept_and_not_all_of_it() {
        let mut stderr = String::new();
        let line = "ä".repeat(100);
        for number in 0..50_000 {
            Limits::default().keep_end(&mut stderr, &format!("{number} {line}"));
        }
        assert!(stderr.len() <= 2 * STDERR, "{}", stderr.len());
        assert!(stderr.ends_with(&format!("49999 {line}\n")));
        assert!(stderr.lines().all(|kept| kept.ends_with(&line)));
    }
}
