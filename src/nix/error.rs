//! What nix says when it fails, made readable.

use super::Version;
use super::json_log::Message;
use crate::error::{Advice, Exit};
use crate::exec::ExecError;

/// Why nix did not do its work.
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
    #[error("nix gave an answer that cannot be understood for {what}: {why}")]
    Answer { what: String, why: String },
    #[error(transparent)]
    Exec(#[from] ExecError),
}

impl NixError {
    /// Turns a failed run into an error about `what`, with what nix said in it, and
    /// what the programs said that nix started.
    pub(super) fn of(what: &str, error: ExecError, said: &[Message], others: &[String]) -> Self {
        if error.is_missing_program() {
            return Self::Missing;
        }
        if !matches!(error, ExecError::Failed { .. }) || (said.is_empty() && others.is_empty()) {
            return Self::Exec(error);
        }
        let what = what.to_owned();
        let errors = errors(said);
        if errors.is_empty() {
            return Self::Failed { what, message: others.join("\n") };
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
            Self::Fetch { what, message: [&[message], others].concat().join("\n") }
        } else if any(&[
            "cannot connect to",
            "cannot open connection to remote store",
            "daemon disconnected",
            "failed to start SSH",
            "lost connection",
            "ssh://",
        ]) {
            Self::Failed { what, message: [&[message], others].concat().join("\n") }
        } else {
            Self::Eval { what, message }
        }
    }
}

/// The texts of the errors, without the word, in their order and once each.
fn errors(said: &[Message]) -> Vec<&str> {
    let mut errors: Vec<&str> = Vec::new();
    for message in said.iter().filter(|message| message.level == 0) {
        if let Some(text) = message.text.strip_prefix("error:") {
            let text = text.trim();
            if !text.is_empty() && !errors.contains(&text) {
                errors.push(text);
            }
        }
    }
    errors
}

/// The cause first, in one line, and then what nix printed.
fn readable(errors: &[&str]) -> String {
    // What only failed because something else did tells nothing.
    let is_cause =
        |text: &&&str| !text.contains("dependency failed") && !text.contains("dependencies");
    let causes: Vec<&str> = match errors.iter().filter(is_cause).copied().collect::<Vec<_>>() {
        causes if causes.is_empty() => errors.to_vec(),
        causes => causes,
    };
    let mut lines: Vec<String> = Vec::new();
    for text in &causes {
        // An evaluation error prints the way to it first, then the error itself.
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
            Self::TooOld { .. } => "Upgrade it with `nix upgrade-nix`, or by your system.".into(),
            Self::Eval { .. } => {
                "Mend the configuration, then run the same command again; --show-trace shows the \
                 way to the error. A file that git does not know is invisible to a flake: git add \
                 --intent-to-add it."
                    .into()
            }
            Self::Fetch { .. } => {
                "Check the network and that you may read the repository (private inputs come over \
                 your own SSH key: is it in the agent?), then run the same command again."
                    .into()
            }
            Self::Build { .. } => {
                "`nix log` of the derivation named above shows all of its output. Mend the \
                 configuration and run the same command again: what was built stays built."
                    .into()
            }
            Self::Failed { .. } | Self::Answer { .. } => {
                "See the log for all that nix said, then run the same command again.".into()
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
        let said: Vec<Message> =
            texts.iter().map(|text| Message { level: 0, text: (*text).to_owned() }).collect();
        let error = ExecError::Failed {
            command: "nix".into(),
            status: "exit status 1".into(),
            code: Some(1),
            stderr: String::new(),
        };
        NixError::of(".#x", error, &said, &["ssh: no".to_owned()])
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
    fn without_any_word_of_nix_the_words_of_others_are_shown() {
        assert_eq!(failed(&["trace: x"]).to_string(), ".#x failed: ssh: no");
        let error = failed(&["error: failed to start SSH connection to 'h'"]);
        assert!(error.to_string().ends_with("'h'\nssh: no"), "{error}");
    }
}
