//! Turns a failed run of nix into a readable error, with the cause first.
//!
//! nix has one exit code for every failure, so the kinds are told apart by its messages.

use super::Version;
use super::json_log::Message;
use crate::error::{Advice, Exit};
use crate::exec::ExecError;

/// Why a run of nix failed.
#[derive(Debug, thiserror::Error)]
pub enum NixError {
    #[error("nix is not installed on this machine")]
    Missing,
    #[error("nix {found} is too old: {} or newer is needed", Version::OLDEST)]
    TooOld { found: Version },
    #[error("{what} does not evaluate: {message}")]
    Eval { what: String, message: String },
    #[error("{what} could not be fetched: {message}")]
    Fetch { what: String, message: String },
    #[error("{what} could not be built: {message}")]
    Build { what: String, message: String },
    #[error("{what} failed: {message}")]
    Failed { what: String, message: String },
    #[error("the output of nix for {what} cannot be parsed: {why}")]
    Output { what: String, why: String },
    #[error(transparent)]
    Exec(#[from] ExecError),
}

impl NixError {
    /// Classifies a failed run about `what` by nix's `messages`. `other_lines` are those of the
    /// programs that nix started, such as git and ssh.
    pub(super) fn classify(
        what: &str,
        error: ExecError,
        messages: &[Message],
        other_lines: &[String],
    ) -> Self {
        if error.is_missing_program() {
            return Self::Missing;
        }
        if !matches!(error, ExecError::Failed { .. })
            || (messages.is_empty() && other_lines.is_empty())
        {
            return Self::Exec(error);
        }
        let what = what.to_owned();
        let errors = errors(messages);
        if errors.is_empty() {
            return Self::Failed { what, message: other_lines.join("\n") };
        }
        let message = readable(&errors);
        let any = |words: &[&str]| errors.iter().any(|e| words.iter().any(|word| e.contains(word)));
        if any(&["Cannot build '", "builder for '", "build of '", "dependency failed"]) {
            Self::Build { what, message }
        } else if any(&[
            "while fetching the input",
            "unable to download",
            "Could not resolve host",
            "cannot fetch",
            "Failed to fetch",
            "failed to fetch",
            "program 'git' failed",
            "unable to open Git",
        ]) {
            Self::Fetch { what, message: [&[message], other_lines].concat().join("\n") }
        } else if any(&[
            "cannot connect to",
            "cannot open connection to remote store",
            "daemon disconnected",
            "failed to start SSH",
            "lost connection",
            "ssh://",
        ]) {
            Self::Failed { what, message: [&[message], other_lines].concat().join("\n") }
        } else {
            Self::Eval { what, message }
        }
    }
}

/// Returns the texts of the errors, without the prefix `error:`, in order and without duplicates.
fn errors(messages: &[Message]) -> Vec<&str> {
    let mut errors: Vec<&str> = Vec::new();
    for message in messages.iter().filter(|message| message.level == 0) {
        if let Some(text) = message.text.strip_prefix("error:") {
            let text = text.trim();
            if !text.is_empty() && !errors.contains(&text) {
                errors.push(text);
            }
        }
    }
    errors
}

/// Joins the errors, each with its cause in the first line and its trace after it.
fn readable(errors: &[&str]) -> String {
    // A derivation that failed because of a dependency only repeats that.
    let is_cause =
        |text: &&&str| !text.contains("dependency failed") && !text.contains("dependencies");
    let causes: Vec<&str> = match errors.iter().filter(is_cause).copied().collect::<Vec<_>>() {
        causes if causes.is_empty() => errors.to_vec(),
        causes => causes,
    };
    let mut lines: Vec<String> = Vec::new();
    for text in &causes {
        // An evaluation error has its trace first, then its cause.
        let (trace, cause) = match text.rfind("\n       error:") {
            Some(at) => (&text[..at], text[at..].trim_start().trim_start_matches("error:").trim()),
            None => ("", *text),
        };
        lines.extend(cause.lines().chain(trace.lines()).map(|line| line.trim_end().to_owned()));
    }
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}

impl Advice for NixError {
    fn hint(&self) -> String {
        match self {
            Self::Missing => {
                "Install it from https://nixos.org/download, open a new shell, and run the same \
                 command again."
                    .into()
            }
            Self::TooOld { .. } => "Upgrade it with `nix upgrade-nix`, or with your system.".into(),
            Self::Eval { .. } => {
                "Fix the configuration, then run the same command again; --show-trace shows the \
                 full trace. A flake does not see files that git does not track: git add \
                 --intent-to-add FILE."
                    .into()
            }
            Self::Fetch { .. } => {
                "Check the network and that you can read the repository (private inputs need your \
                 SSH key in the agent), then run the same command again."
                    .into()
            }
            Self::Build { .. } => {
                "`nix log` of the derivation named above shows all of its output. Fix the \
                 configuration and run the same command again: what is built is not built again."
                    .into()
            }
            Self::Failed { .. } | Self::Output { .. } => {
                "See the log for everything that nix printed, then run the same command again."
                    .into()
            }
            Self::Exec(error) => error.hint(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Missing | Self::TooOld { .. } | Self::Eval { .. } => Exit::Usage,
            Self::Exec(error) => error.exit(),
            _ => Exit::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(texts: &[&str]) -> NixError {
        let messages: Vec<Message> =
            texts.iter().map(|text| Message { level: 0, text: (*text).to_owned() }).collect();
        let error = ExecError::Failed {
            command: "nix".into(),
            status: "exit status 1".into(),
            code: Some(1),
            stderr: String::new(),
        };
        NixError::classify(".#x", error, &messages, &["ssh: no".to_owned()])
    }

    #[test]
    fn an_evaluation_error_begins_with_its_cause() {
        let error = failed(&[
            "trace: unrelated",
            "error:\n       … while calling the 'throw' builtin\n         at /x/flake.nix:10:12:\n\n       error: no such host",
        ]);
        assert_eq!(
            error.to_string(),
            ".#x does not evaluate: no such host\n… while calling the 'throw' builtin\n         at /x/flake.nix:10:12:"
        );
        assert_eq!(error.exit(), Exit::Usage);
    }

    #[test]
    fn a_store_that_goes_away_is_no_error_of_the_configuration() {
        let error = failed(&[
            "error: cannot open connection to remote store 'ssh-ng://root@x': error: Nix daemon disconnected unexpectedly (maybe it crashed?)",
        ]);
        assert_eq!(error.exit(), Exit::Failed, "{error}");
    }

    #[test]
    fn a_failed_build_names_the_derivation_that_failed_not_those_that_need_it() {
        let error = failed(&[
            "error: Cannot build '/nix/store/x-broken.drv'.\n       Reason: builder failed with exit code 3.\n       > boom",
            "error: Cannot build '/nix/store/x-top.drv'.\n       Reason: 1 dependency failed.",
        ]);
        let text = error.to_string();
        assert!(
            text.contains("broken") && text.contains("boom") && !text.contains("top"),
            "{text}"
        );
        assert_eq!(error.exit(), Exit::Failed);
    }

    #[test]
    fn without_messages_of_nix_those_of_its_children_are_shown() {
        assert_eq!(failed(&["trace: x"]).to_string(), ".#x failed: ssh: no");
        let error = failed(&["error: failed to start SSH connection to 'h'"]);
        assert!(error.to_string().ends_with("'h'\nssh: no"), "{error}");
    }
}
