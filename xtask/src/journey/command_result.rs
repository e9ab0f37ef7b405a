//! How a run of landfall ended, and what it said.

use std::process::Command;

use anyhow::{Result, ensure};

/// The exit code of a command, and all that it printed.
pub(crate) struct CommandResult {
    code: Option<i32>,
    pub(crate) text: String,
}

impl CommandResult {
    /// Runs a command to its end, however that is.
    pub(crate) fn of(command: &mut Command) -> Result<CommandResult> {
        let output = command.output()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(CommandResult { code: output.status.code(), text })
    }

    /// Fails unless the command ended with this code (none: by a signal) and said all of this.
    pub(crate) fn must_be(&self, code: Option<i32>, says: &[&str]) -> Result<()> {
        let (is, wanted) = (code_text(self.code), code_text(code));
        ensure!(self.code == code, "it ended with {is}, not {wanted}:\n{}", self.text);
        let line = one_line(&self.text);
        for words in says {
            ensure!(line.contains(words), "it does not say \"{words}\":\n{}", self.text);
        }
        Ok(())
    }
}

/// Undoes the wrapping of lines at the width of a terminal.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn code_text(code: Option<i32>) -> String {
    code.map_or_else(|| "a signal".to_string(), |code| format!("exit code {code}"))
}
