//! Decides the answer to a prompt of ssh: a password given beforehand, an earlier answer of this
//! run, or one typed by a person, who is shown which machine or key it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::endpoint::ALIAS;
use crate::run::event::Events;
use crate::secret::Secret;
use crate::ui::prompt::{Prompter, Question};
use crate::ui::text::clean;

/// A prompt of ssh.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Value of `SSH_ASKPASS_PROMPT` (ssh(1)): empty for a secret, `confirm`, or `none` for a
    /// notice that needs no answer.
    pub kind: &'a str,
    /// Process id of the asking ssh.
    pub ssh: &'a str,
    pub text: &'a str,
    /// Whether a person may be prompted.
    pub may_ask: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Given(Secret),
    Refused,
    /// Refused, and the ssh has to be ended, since it would otherwise send an empty answer.
    End,
    /// None needed: the prompt was a notice.
    None,
}

/// The answers to the prompts of all ssh processes of a run.
#[derive(Debug)]
pub struct AskpassResponder {
    target: String,
    prompter: Arc<dyn Prompter>,
    events: Events,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// The password of `SSHPASS`, until the first login at the target takes it.
    password: Option<Secret>,
    given: BTreeMap<About, Secret>,
    /// The prompts of each ssh process so far: a repeated one means that the answer was wrong.
    asked: BTreeSet<(String, About)>,
    unanswered: Option<Unanswered>,
}

/// A prompt without a good answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// No person could be prompted.
    Nobody { question: String },
    /// The given answer was wrong, and there is no other.
    Wrong { question: String },
}

/// The secret that a prompt asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    /// The password of a user on the target.
    Target { user: String },
    /// The password of `user@host` on a jump host.
    Jump { login: String },
    /// The passphrase or PIN of a key.
    Key { name: String },
    /// A text that differs each time, such as the prompt for a one-time code.
    Other { text: String },
}

impl AskpassResponder {
    /// Creates a responder. `target` is the name shown for the machine that sessions are opened
    /// to; `password` answers its first password prompt.
    pub fn new(
        target: String,
        prompter: Arc<dyn Prompter>,
        events: Events,
        password: Option<Secret>,
    ) -> Self {
        let memory = Mutex::new(Memory { password, ..Memory::default() });
        Self { target, prompter, events, memory }
    }

    pub(super) fn can_answer(&self) -> bool {
        let memory = self.memory();
        self.prompter.is_interactive() || memory.password.is_some() || !memory.given.is_empty()
    }

    pub(super) fn take_unanswered(&self) -> Option<Unanswered> {
        self.memory().unanswered.take()
    }

    pub(super) fn answer(&self, asked: &Asked) -> Answer {
        match asked.kind {
            "none" => {
                self.events.note(clean(asked.text.trim()));
                return Answer::None;
            }
            // Host keys are pinned, and the use of an agent's key is for the agent to confirm.
            "confirm" => return Answer::Refused,
            _ if asked.text.contains("continue connecting") => return Answer::Refused,
            _ => {}
        }
        let about = About::parse(asked.text);
        // Prompts are answered one at a time, because one answer may also serve the next.
        let mut memory = self.memory();
        let again = !memory.asked.insert((asked.ssh.to_owned(), about.clone()));
        if again {
            memory.given.remove(&about);
        } else if let Some(secret) = memory.known(&about) {
            return Answer::Given(secret);
        }
        let question = about.question(&self.target, again);
        if asked.may_ask
            && self.prompter.is_interactive()
            && let Ok(secret) = self.prompter.secret(&question)
        {
            if about.lasts() {
                memory.given.insert(about, secret.clone());
            }
            return Answer::Given(secret);
        }
        let question = question.text;
        memory.unanswered = Some(match again {
            true => Unanswered::Wrong { question },
            false => Unanswered::Nobody { question },
        });
        if matches!(about, About::Key { .. }) { Answer::Refused } else { Answer::End }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn known(&mut self, about: &About) -> Option<Secret> {
        if let Some(secret) = self.given.get(about) {
            return Some(secret.clone());
        }
        // `SSHPASS` is the password of the first user who logs in at the target, and of no other.
        let secret = self.password.take_if(|_| matches!(about, About::Target { .. }))?;
        self.given.insert(about.clone(), secret.clone());
        Some(secret)
    }
}

impl About {
    /// Parses OpenSSH's prompts: `USER@HOST's password: `; `(USER@HOST) TEXT`, with a text of the
    /// server; `Enter passphrase for key 'FILE': `; `Enter PIN for KEY: `.
    fn parse(text: &str) -> Self {
        let text = text.trim().trim_end_matches(':');
        let key = ["Enter passphrase for ", "Enter PIN for "];
        if let Some(name) = key.iter().find_map(|start| text.strip_prefix(start)) {
            return Self::Key { name: name.to_owned() };
        }
        let login = match text.strip_prefix('(') {
            // ssh itself writes the parentheses, so that no server can pose as another.
            Some(text) => text
                .split_once(") ")
                .filter(|(_, rest)| rest.to_lowercase().contains("password"))
                .map(|(login, _)| login),
            None => text.strip_suffix("'s password"),
        };
        match login.and_then(|login| login.rsplit_once('@')) {
            Some((user, ALIAS)) => Self::Target { user: user.to_owned() },
            Some((user, host)) => Self::Jump { login: format!("{user}@{host}") },
            None => Self::Other { text: text.to_owned() },
        }
    }

    fn lasts(&self) -> bool {
        !matches!(self, Self::Other { .. })
    }

    fn question(&self, target: &str, again: bool) -> Question {
        const AGENT: &str = "a key in your agent (ssh-add)";
        let question = match self {
            Self::Target { user } => {
                Question::new(format!("Password of {user} on {target}"), "--env-password")
            }
            Self::Jump { login } => {
                Question::new(format!("Password of {login}, a jump host"), AGENT)
                    .detail(format!("It is on the way to {target}, and not {target} itself."))
            }
            Self::Key { name } => Question::new(format!("Passphrase of {name}"), AGENT)
                .detail(format!("A key of yours on this machine, for the login on {target}.")),
            Self::Other { text } => Question::new(text.replace(ALIAS, target), AGENT),
        };
        let question = Question { text: clean(&question.text), ..question };
        if again { question.detail("What was given before was not right.") } else { question }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_told_apart_by_whom_they_are_about() {
        let target = |user: &str| About::Target { user: user.into() };
        let jump = |login: &str| About::Jump { login: login.into() };
        assert_eq!(About::parse("root@landfall-target's password: "), target("root"));
        assert_eq!(About::parse("(a@b@landfall-target) Password: "), target("a@b"));
        assert_eq!(About::parse("me@bastion's password: "), jump("me@bastion"));
        assert_eq!(About::parse("(me@bastion) Password for me: "), jump("me@bastion"));
        // A jump host that poses as the target.
        let claim = "(me@bastion) root@landfall-target's password: ";
        assert_eq!(About::parse(claim), jump("me@bastion"));
        let key = About::Key { name: "key '/k'".into() };
        assert_eq!(About::parse("Enter passphrase for key '/k': "), key);
        assert!(!About::parse("(root@landfall-target) Verification code: ").lasts());
    }
}
