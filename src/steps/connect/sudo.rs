//! The password with which a user of the target becomes root: from a file or a
//! person, asked for once, held in memory and given to sudo over standard input.

use std::path::PathBuf;

use crate::error::{Advice, Exit, StepError};
use crate::secret::Secret;
use crate::ssh::{PasswordProgram, Session};
use crate::steps::context::Context;
use crate::ui::prompt::Question;

/// How often a person may mistype it.
const ATTEMPTS: usize = 3;
const FLAG: &str = "--sudo-password-file [USER=]FILE";

#[derive(Debug, thiserror::Error)]
pub(crate) enum SudoError {
    #[error("the file {path} with the password for sudo cannot be read: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the file {path} does not hold a password for sudo: {why}")]
    Content { path: PathBuf, why: &'static str },
    #[error("{user} did not become root on {host}\n{said}")]
    Refused { user: String, host: String, said: String },
    #[error("{user} cannot become root on {host}\nthere is neither sudo nor doas")]
    NoProgram { user: String, host: String },
    #[error("{user} cannot become root on {host}\ndoas takes a password from a terminal alone")]
    Doas { user: String, host: String },
}

impl Advice for SudoError {
    fn hint(&self) -> String {
        match self {
            Self::Read { .. } => "Check the path that --sudo-password-file names.".into(),
            Self::Content { .. } => "Put the password into it, on one line.".into(),
            Self::Refused { user, .. } => format!(
                "Give {user}'s password on that machine with {FLAG}; the user must be allowed to \
                 run every command by sudo. Or log in as root."
            ),
            Self::NoProgram { .. } => "Log in as root, or as a user who may use sudo.".into(),
            Self::Doas { user, .. } => format!(
                "Log in as root, give {user} sudo, or let doas ask for nothing while landfall \
                 works (permit nopass {user}; security.doas.extraRules with noPass)."
            ),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } | Self::Content { .. } => Exit::Usage,
            _ => Exit::Person,
        }
    }
}

/// Gives `session` the password that is there already, from the flag or from an
/// earlier answer. One that sudo does not take is told, and may be mended later.
pub(crate) fn recall(cx: &mut Context, session: &mut Session) -> Result<(), StepError> {
    if session.asks_for_password() != Some(PasswordProgram::Sudo) {
        return Ok(());
    }
    let user = login(session)?;
    if let Some(password) = known(cx, &user)?
        && let Err(said) = session.use_sudo_password(password)?
    {
        cx.memory.answers.sudo.remove(&user);
        let host = session.endpoint().host.clone();
        cx.events.warn(StepError::from(SudoError::Refused { user, host, said }).to_string());
    }
    Ok(())
}

/// Sees to it that commands on the target can be root's; asks for the password where
/// sudo wants one.
pub(crate) fn ensure(cx: &mut Context) -> Result<(), StepError> {
    let session = &cx.target()?.session;
    if session.can_be_root() {
        return Ok(());
    }
    let (user, host) = (login(session)?, session.endpoint().host.clone());
    match session.asks_for_password() {
        None => return Err(SudoError::NoProgram { user, host }.into()),
        Some(PasswordProgram::Doas) => return Err(SudoError::Doas { user, host }.into()),
        Some(PasswordProgram::Sudo) => {}
    }
    let mut said = None;
    if let Some(password) = known(cx, &user)? {
        match try_one(cx, &user, password)? {
            Answer::Taken => return Ok(()),
            Answer::Refused(said) if !cx.prompter.is_interactive() => {
                return Err(SudoError::Refused { user, host, said }.into());
            }
            Answer::Refused(refusal) => said = Some(refusal),
        }
    }
    for _ in 0..ATTEMPTS {
        let mut question = Question::new(format!("Password of {user} on {host}, for sudo"), FLAG);
        question.detail.extend(said.take());
        let password = cx.prompter.secret(&question)?;
        match try_one(cx, &user, password)? {
            Answer::Taken => return Ok(()),
            Answer::Refused(refusal) => said = Some(refusal),
        }
    }
    Err(SudoError::Refused { user, host, said: said.unwrap_or_default() }.into())
}

/// What sudo makes of a password.
enum Answer {
    Taken,
    /// In sudo's words.
    Refused(String),
}

/// Remembers the password when sudo takes it.
fn try_one(cx: &mut Context, user: &str, password: Secret) -> Result<Answer, StepError> {
    let Some(target) = cx.connection.target.as_mut() else {
        return Ok(Answer::Refused(String::new()));
    };
    if let Err(said) = target.session.use_sudo_password(password.clone())? {
        return Ok(Answer::Refused(said));
    }
    cx.memory.answers.sudo.insert(user.to_owned(), password);
    Ok(Answer::Taken)
}

fn login(session: &Session) -> Result<String, StepError> {
    match &session.endpoint().user {
        Some(user) => Ok(user.clone()),
        None => Ok(session.run(&["id", "-un"]).read()?),
    }
}

/// The password of `user` that was typed before, or that the flag names.
fn known(cx: &mut Context, user: &str) -> Result<Option<Secret>, StepError> {
    if let Some(password) = cx.memory.answers.sudo.get(user) {
        return Ok(Some(password.clone()));
    }
    let files = &cx.config.sudo_passwords;
    let named = files.iter().find(|(name, _)| name.as_deref() == Some(user));
    let Some((_, path)) = named.or_else(|| files.iter().find(|(name, _)| name.is_none())) else {
        return Ok(None);
    };
    // Read once: it may be a pipe.
    let password = read(path)?;
    cx.memory.answers.sudo.insert(user.to_owned(), password.clone());
    Ok(Some(password))
}

fn read(path: &PathBuf) -> Result<Secret, SudoError> {
    let bytes =
        std::fs::read(path).map_err(|source| SudoError::Read { path: path.clone(), source })?;
    let content = |why| SudoError::Content { path: path.clone(), why };
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if line.is_empty() {
        return Err(content("it is empty"));
    }
    if line.iter().any(|byte| b"\n\0".contains(byte)) {
        return Err(content("it has more than one line"));
    }
    Ok(Secret::new(line.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        let read_back = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read(&path)
        };
        assert_eq!(read_back(b" a b \n").unwrap().expose(), b" a b ");
        assert_eq!(read_back(b"x").unwrap().expose(), b"x");
        for wrong in [&b""[..], b"\n", b"a\nb\n", b"a\0b"] {
            assert_eq!(read_back(wrong).unwrap_err().exit(), Exit::Usage);
        }
        assert_eq!(read(&"/nonexistent".into()).unwrap_err().exit(), Exit::Usage);
    }
}
