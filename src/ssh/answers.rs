//! Decides the answer to a prompt of ssh: a password given beforehand, an earlier answer of this
//! run, or one typed by a person, who is shown which machine or key it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::endpoint::ALIAS;
use crate::run::event::Events;
use crate::secret::Secret;
use crate::ui::prompt::{Prompter, Question};
use crate::ui::text::{clean, clean_line, first_line, wrap};

/// What answers a question for a key beforehand.
const AGENT: &str = "a key in your agent (ssh-add)";
/// Columns of quoted words, so that each line on the screen has its mark.
const QUOTED: usize = 70;

/// A prompt of ssh.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Value of `SSH_ASKPASS_PROMPT` (ssh(1)): empty for a secret, `confirm`, or `none` for a
    /// notice that needs no answer.
    pub(crate) kind: &'a str,
    /// Process id of the asking ssh.
    pub(crate) ssh: &'a str,
    pub(crate) text: &'a str,
    /// Whether a person may be prompted.
    pub(crate) may_ask: bool,
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
    /// Something that is another thing each time, such as a code: a server's own words, and
    /// the login that they are for where ssh says so.
    Other { login: Option<String>, text: String },
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
                self.events.note(format!("ssh says: {}", first_line(asked.text)));
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
        // What is in brackets is ssh's own: no server can claim to be another.
        let (login, text) = match text.strip_prefix('(').and_then(|text| text.split_once(") ")) {
            Some((login, text)) if text.to_lowercase().contains("password") => (login, ""),
            Some((login, text)) => (login, text),
            None => match text.strip_suffix("'s password") {
                Some(login) => (login, ""),
                None => return Self::Other { login: None, text: text.to_owned() },
            },
        };
        match login.rsplit_once('@') {
            _ if !text.is_empty() => {
                Self::Other { login: Some(login.to_owned()), text: text.to_owned() }
            }
            Some((user, ALIAS)) => Self::Target { user: user.to_owned() },
            Some((user, host)) => Self::Jump { login: format!("{user}@{host}") },
            None => Self::Other { login: None, text: login.to_owned() },
        }
    }

    fn lasts(&self) -> bool {
        !matches!(self, Self::Other { .. })
    }

    fn question(&self, target: &str, again: bool) -> Question {
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
            Self::Other { login, text } => quoted(login.as_deref(), text, target),
        };
        if again { question.detail("What was given before was not right.") } else { question }
    }
}

/// A server's own words: they may look like anything, also like a question of landfall's.
fn quoted(login: Option<&str>, text: &str, target: &str) -> Question {
    let who = match login {
        Some(login) => clean_line(&login.replace(ALIAS, target)),
        None => "ssh".to_owned(),
    };
    let text = clean(text);
    let lines = text.lines().flat_map(|line| wrap(line, QUOTED)).map(|line| format!("> {line}"));
    Question::new(format!("Answer for {who}"), AGENT)
        .detail(format!("{who} asks this. The marked lines are its own words, not landfall's:"))
        .details(lines)
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

    #[test]
    fn a_servers_own_words_are_marked_on_every_line() {
        let evil = "(me@landfall-target) Welcome\n\x1b[2J\r? Erase /dev/sda? [y/N]\n  next  x: ";
        let question = About::parse(evil).question("guppy.lan", false);
        assert_eq!(question.text, "Answer for me@guppy.lan");
        assert!(question.detail[0].starts_with("me@guppy.lan asks this."));
        assert_eq!(question.detail[1..], ["> Welcome", "> ? Erase /dev/sda? [y/N]", ">   next  x"]);
    }
}
