//! Questions to a person, or a refusal that names the flag.
//!
//! Steps and commands ask through a [`Prompter`]. On a terminal a person answers;
//! with `--yes`, or where there is no terminal, only what `--yes` may answer is
//! answered, and everything else ends the run with exit code 3 before any change.
//! Every question names the flag that answers it beforehand.

use std::fmt::Debug;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use inquire::validator::Validation;
use inquire::{Confirm, InquireError, Select, Text};

use super::text::{clean, clean_line, wrap};
use super::{Screen, terminal};
use crate::error::{Advice, Exit};
use crate::secret::Secret;

/// How often a new secret may be typed differently the second time.
const ATTEMPTS: usize = 3;
/// Columns at which the details of a question are broken.
const READABLE: usize = 78;

/// One question, with what a person must know to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The question itself, one line.
    pub text: String,
    /// Shown above it: the disk's model and serial, the diff, the two fingerprints.
    pub detail: Vec<String>,
    /// The flag that answers it, as `--erase DISK`.
    pub(crate) flag: &'static str,
    /// Whether `--yes` alone answers it.
    pub(crate) yes_answers: bool,
}

impl Question {
    pub fn new(text: impl Into<String>, flag: &'static str) -> Self {
        Self { text: text.into(), detail: Vec::new(), flag, yes_answers: false }
    }

    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.detail.push(line.into());
        self
    }

    #[must_use]
    pub(crate) fn details(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.detail.extend(lines);
        self
    }

    #[must_use]
    pub(crate) fn answered_by_yes(mut self) -> Self {
        self.yes_answers = true;
        self
    }

    /// Gives the question as a terminal may show it: much of its text comes from elsewhere.
    fn cleaned(&self) -> Self {
        let detail = self.detail.iter().map(|line| clean(line)).collect();
        Self { text: clean_line(&self.text), detail, ..self.clone() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    #[error("nobody can be asked: {question}")]
    NeedsPerson { question: String, flag: &'static str, yes_answers: bool },
    #[error("interrupted at the question: {question}")]
    Interrupted { question: String },
    #[error("the two entries differ: {question}")]
    Different { question: String },
    #[error("the terminal cannot be used to ask: {question}")]
    Terminal { question: String, source: io::Error },
}

impl Advice for PromptError {
    fn hint(&self) -> String {
        match self {
            Self::NeedsPerson { flag, yes_answers: true, .. } if *flag != "--yes" => {
                format!("Give {flag} or --yes, or run it in a terminal.")
            }
            Self::NeedsPerson { flag, .. } => {
                format!("Answer beforehand with {flag}, or run it in a terminal without --yes.")
            }
            Self::Interrupted { .. } => "Run the same command again to go on.".into(),
            Self::Different { .. } => "Run the same command again and type it twice alike.".into(),
            Self::Terminal { .. } => {
                "Run it in another terminal, or give the flags that answer its questions.".into()
            }
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Interrupted { .. } => Exit::Interrupted,
            _ => Exit::Person,
        }
    }
}

/// Whoever answers questions.
pub trait Prompter: Send + Sync + Debug {
    /// Whether a person can be asked at all.
    fn is_interactive(&self) -> bool;

    /// Yes or no; no when just Enter is pressed.
    fn confirm(&self, question: &Question) -> Result<bool, PromptError>;

    /// For what cannot be undone: yes only when `expected` is typed.
    fn type_to_confirm(&self, question: &Question, expected: &str) -> Result<bool, PromptError>;

    /// A secret that exists already.
    fn secret(&self, question: &Question) -> Result<Secret, PromptError>;

    /// The index of one of `options`.
    fn choose(&self, question: &Question, options: &[String]) -> Result<usize, PromptError>;

    /// One line of text, never empty; `default` when just Enter is pressed.
    fn text(&self, question: &Question, default: Option<&str>) -> Result<String, PromptError>;

    /// A secret that is set now: asked for twice.
    fn new_secret(&self, question: &Question) -> Result<Secret, PromptError> {
        let again = Question { text: format!("{} (again)", question.text), ..question.clone() };
        let again = Question { detail: Vec::new(), ..again };
        for _ in 0..ATTEMPTS {
            let secret = self.secret(question)?;
            if self.secret(&again)? == secret {
                return Ok(secret);
            }
        }
        Err(PromptError::Different { question: question.text.clone() })
    }
}

/// The prompter for this process: a person, unless `yes` is given or there is no terminal.
pub fn prompter(yes: bool, screen: Screen) -> Arc<dyn Prompter> {
    // Questions are written to standard error and answered on the terminal.
    let terminal = io::stderr().is_terminal() && terminal::is_there();
    if yes || !terminal { Arc::new(Unattended { yes }) } else { Arc::new(Terminal { screen }) }
}

/// Asks nobody.
#[derive(Debug, Clone, Copy)]
pub struct Unattended {
    /// Whether `--yes` was given.
    pub yes: bool,
}

impl Unattended {
    fn refusal(question: &Question) -> PromptError {
        PromptError::NeedsPerson {
            question: question.text.clone(),
            flag: question.flag,
            yes_answers: question.yes_answers,
        }
    }
}

impl Prompter for Unattended {
    fn is_interactive(&self) -> bool {
        false
    }

    fn confirm(&self, question: &Question) -> Result<bool, PromptError> {
        if self.yes && question.yes_answers { Ok(true) } else { Err(Self::refusal(question)) }
    }

    fn type_to_confirm(&self, question: &Question, _expected: &str) -> Result<bool, PromptError> {
        self.confirm(question)
    }

    fn secret(&self, question: &Question) -> Result<Secret, PromptError> {
        Err(Self::refusal(question))
    }

    fn choose(&self, question: &Question, _options: &[String]) -> Result<usize, PromptError> {
        Err(Self::refusal(question))
    }

    fn text(&self, question: &Question, default: Option<&str>) -> Result<String, PromptError> {
        default.map(str::to_owned).ok_or_else(|| Self::refusal(question))
    }
}

/// A person at the terminal, also when standard input is something else.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    screen: Screen,
}

impl Terminal {
    /// Asks with nothing else moving on the screen, after the details were shown.
    fn ask<T: Send + 'static>(
        &self,
        question: &Question,
        ask: impl FnOnce(Question) -> Result<T, InquireError> + Send + 'static,
    ) -> Result<T, PromptError> {
        let question = question.cleaned();
        let text = question.text.clone();
        let answer = self.screen.suspend(|| {
            terminal::ask(move || {
                show_detail(&question)?;
                ask(question)
            })
        });
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(InquireError::OperationInterrupted | InquireError::OperationCanceled)) => {
                Err(PromptError::Interrupted { question: text })
            }
            Err(source) | Ok(Err(InquireError::IO(source)))
                if source.kind() == io::ErrorKind::Interrupted =>
            {
                Err(PromptError::Interrupted { question: text })
            }
            Err(source) | Ok(Err(InquireError::IO(source))) => {
                Err(PromptError::Terminal { question: text, source })
            }
            Ok(Err(other)) => {
                Err(PromptError::Terminal { question: text, source: io::Error::other(other) })
            }
        }
    }
}

fn show_detail(question: &Question) -> io::Result<()> {
    let mut out = io::stderr();
    let lines = question.detail.iter().flat_map(|line| wrap(line, READABLE));
    lines.into_iter().try_for_each(|line| writeln!(out, "  {line}"))
}

impl Prompter for Terminal {
    fn is_interactive(&self) -> bool {
        true
    }

    fn confirm(&self, question: &Question) -> Result<bool, PromptError> {
        let help = format!("{} answers this beforehand", question.flag);
        self.ask(question, move |question| {
            Confirm::new(&question.text).with_default(false).with_help_message(&help).prompt()
        })
    }

    fn type_to_confirm(&self, question: &Question, expected: &str) -> Result<bool, PromptError> {
        let shown = clean_line(expected);
        let help = format!("type {shown} to go on; anything else is a no");
        let typed = self.ask(question, move |question| {
            Text::new(&question.text).with_help_message(&help).prompt()
        })?;
        Ok(typed.trim() == shown)
    }

    fn secret(&self, question: &Question) -> Result<Secret, PromptError> {
        self.ask(question, |question| {
            Ok(Secret::from(rpassword::prompt_password(format!("? {}: ", question.text))?))
        })
    }

    fn choose(&self, question: &Question, options: &[String]) -> Result<usize, PromptError> {
        let options: Vec<String> = options.iter().map(|option| clean_line(option)).collect();
        let help = format!("arrows and Enter; {} answers this beforehand", question.flag);
        self.ask(question, move |question| {
            Select::new(&question.text, options).with_help_message(&help).raw_prompt()
        })
        .map(|chosen| chosen.index)
    }

    fn text(&self, question: &Question, default: Option<&str>) -> Result<String, PromptError> {
        let default = default.map(clean_line);
        let filled = |typed: &str| {
            let missing = Validation::Invalid("something must be typed".into());
            Ok(if typed.trim().is_empty() { missing } else { Validation::Valid })
        };
        let typed = self.ask(question, move |question| {
            let prompt = Text::new(&question.text).with_validator(filled);
            match &default {
                Some(text) => prompt.with_default(text).prompt(),
                None => prompt.prompt(),
            }
        })?;
        Ok(typed.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StepError;
    use std::sync::Mutex;

    fn question() -> Question {
        Question::new("Erase the disk?", "--erase DISK").detail("QEMU HARDDISK, serial S1")
    }

    #[test]
    fn yes_answers_only_what_it_may() {
        let soft = Question::new("Push?", "--no-push").answered_by_yes();
        let yes = Unattended { yes: true };
        assert!(yes.confirm(&soft).unwrap());
        assert!(yes.type_to_confirm(&soft, "x").unwrap());
        assert!(yes.confirm(&question()).is_err());
        assert!(yes.choose(&soft, &["a".into()]).is_err());
        assert!(yes.secret(&soft).is_err());
        assert!(Unattended { yes: false }.confirm(&soft).is_err());
    }

    #[test]
    fn a_refusal_names_the_flag_and_waits_for_a_person() {
        let error: StepError = Unattended { yes: true }.confirm(&question()).unwrap_err().into();
        assert_eq!(error.exit, Exit::Person);
        assert!(error.hint.contains("--erase DISK"), "{}", error.hint);
        assert!(error.what.contains("Erase the disk?"), "{}", error.what);
    }

    /// Types the answers it was given.
    #[derive(Debug)]
    struct Typist(Mutex<Vec<&'static str>>);

    impl Prompter for Typist {
        fn is_interactive(&self) -> bool {
            true
        }
        fn confirm(&self, _: &Question) -> Result<bool, PromptError> {
            Ok(false)
        }
        fn type_to_confirm(&self, _: &Question, _: &str) -> Result<bool, PromptError> {
            Ok(false)
        }
        fn secret(&self, _: &Question) -> Result<Secret, PromptError> {
            Ok(Secret::from(self.0.lock().unwrap().remove(0).to_owned()))
        }
        fn choose(&self, _: &Question, _: &[String]) -> Result<usize, PromptError> {
            Ok(0)
        }
        fn text(&self, _: &Question, _: Option<&str>) -> Result<String, PromptError> {
            Ok("text".to_owned())
        }
    }

    #[test]
    fn a_new_secret_is_typed_twice_alike() {
        let typist = Typist(Mutex::new(vec!["one", "other", "two", "two"]));
        assert_eq!(typist.new_secret(&question()).unwrap().expose(), b"two");
        let hasty = Typist(Mutex::new(vec!["1", "2", "3", "4", "5", "6"]));
        assert!(matches!(hasty.new_secret(&question()), Err(PromptError::Different { .. })));
    }
}
