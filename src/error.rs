//! What an error looks like when it leaves a step: what failed, why, what to do next.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// How the program ends; the numbers are part of the command line's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    Done = 0,
    /// Failed, and can be resumed: unreachable machines, failed builds, rejected pushes.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Waits for a person: an unanswered question, an unknown host key.
    Person = 3,
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that knows what its reader should do; each module's error enum has one.
pub trait Advice: std::error::Error {
    /// What to do next, as a full sentence or a command.
    fn hint(&self) -> String;

    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// An error at the edge of a step or a command: what its reader is told, and where it
/// comes from.
#[derive(Debug, Clone)]
pub struct StepError {
    /// What failed, in one line.
    pub(crate) what: String,
    /// Why: the chain of causes, with command, status and last words.
    pub(crate) why: String,
    /// What to do next.
    pub hint: String,
    pub exit: Exit,
    /// The error that it was made of, with its own kind and causes.
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// Two errors are one when they tell the same.
impl PartialEq for StepError {
    fn eq(&self, other: &Self) -> bool {
        (&self.what, &self.why, &self.hint, self.exit)
            == (&other.what, &other.why, &other.hint, other.exit)
    }
}

impl Eq for StepError {}

impl Error for StepError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl StepError {
    pub fn new(what: impl Into<String>, why: impl Into<String>, hint: impl Into<String>) -> Self {
        let (what, why, hint) = (what.into(), why.into(), hint.into());
        Self { what, why, hint, exit: Exit::Failed, source: None }
    }

    #[must_use]
    pub(crate) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Puts what the step was doing before what went wrong there.
    #[must_use]
    pub(crate) fn doing(mut self, what: impl Into<String>) -> Self {
        let cause = std::mem::replace(&mut self.what, what.into());
        self.why = if self.why.is_empty() { cause } else { format!("{cause}\n{}", self.why) };
        self
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.why.is_empty() {
            write!(f, ": {}", self.why)?;
        }
        Ok(())
    }
}

impl<E: Advice + Send + Sync + 'static> From<E> for StepError {
    fn from(error: E) -> Self {
        let text = error.to_string();
        let (what, detail) = text.split_once('\n').unwrap_or((&text, ""));
        let mut why = detail.to_owned();
        let mut cause = error.source();
        while let Some(source) = cause {
            let source_text = source.to_string();
            // Many messages already end with their cause.
            if !text.contains(&source_text) {
                if !why.is_empty() {
                    why.push('\n');
                }
                why.push_str(&source_text);
            }
            cause = source.source();
        }
        let (what, hint, exit) = (what.to_owned(), error.hint(), error.exit());
        Self { what, why, hint, exit, source: Some(Arc::new(error)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the lock is held")]
    struct Held(#[source] std::io::Error);

    impl Advice for Held {
        fn hint(&self) -> String {
            "Wait.".into()
        }
    }

    #[test]
    fn an_error_keeps_its_kind_and_its_causes_under_another_name() {
        let held = Held(std::io::ErrorKind::WouldBlock.into());
        let error = StepError::from(held).doing("the step failed").exit(Exit::Person);
        assert_eq!((error.what.as_str(), error.hint.as_str()), ("the step failed", "Wait."));
        assert!(error.why.starts_with("the lock is held\n"), "{}", error.why);
        let source = error.source().unwrap();
        assert!(source.downcast_ref::<Held>().is_some());
        let cause = source.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
        assert_eq!(cause.kind(), std::io::ErrorKind::WouldBlock);
    }
}
