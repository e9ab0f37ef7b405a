//! Runs commands as root on a machine where another user logs in.
//!
//! Invariant: a password reaches sudo over ssh's standard input, never in an argument, and is not
//! stored on the machine. Since sudo does not always read it, a mark follows, and the command
//! sees only what comes after the mark.

use std::time::Duration;

use super::{SshError, remote_command};
use crate::exec::Cmd;
use crate::secret::Secret;

/// The way in which commands become root's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// The login user is root.
    Root,
    /// sudo needs no password.
    Sudo,
    /// sudo accepts the password that the session has.
    SudoPassword,
    /// doas needs no password.
    Doas,
    /// Not possible, or only with a password that the session does not have.
    None,
}

/// The way in which a session's commands become root's, with the password that it needs.
#[derive(Debug, Clone)]
pub(super) enum PrivilegeEscalation {
    Root,
    Sudo,
    SudoPassword(Secret),
    Doas,
    /// A program exists, but needs a password.
    Asks(PasswordProgram),
    None,
}

/// A program that needs a password to run a command as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordProgram {
    Sudo,
    /// doas, which reads a password only from a terminal.
    Doas,
}

/// Script that prints one word for [`PrivilegeEscalation::parse`].
pub(super) const PROBE: &str = r#"
if [ "$(id -u)" = 0 ]; then echo root
elif sudo -n -- true; then echo sudo
elif doas -n -- true; then echo doas
elif command -v sudo >/dev/null; then echo sudo-asks
elif command -v doas >/dev/null; then echo doas-asks
else echo none
fi 2>/dev/null
"#;

/// Separates the password from the command's input. Shorter than any word that is redacted.
const MARK: &str = ":::::";

/// Script that reads up to the mark, its first argument, and then executes the command. The shell
/// reads no byte beyond.
const AFTER_MARK: &str = r#"mark=$1; shift
while IFS= read -r line && [ "$line" != "$mark" ]; do :; done
exec "$@""#;

const SUDO: [&str; 6] = ["sudo", "-S", "-k", "-p", "", "--"];

impl PrivilegeEscalation {
    pub(super) fn parse(word: &str) -> Self {
        match word {
            "root" => Self::Root,
            "sudo" => Self::Sudo,
            "doas" => Self::Doas,
            "sudo-asks" => Self::Asks(PasswordProgram::Sudo),
            "doas-asks" => Self::Asks(PasswordProgram::Doas),
            _ => Self::None,
        }
    }

    pub(super) fn privilege(&self) -> Privilege {
        match self {
            Self::Root => Privilege::Root,
            Self::Sudo => Privilege::Sudo,
            Self::SudoPassword(_) => Privilege::SudoPassword,
            Self::Doas => Privilege::Doas,
            Self::Asks(_) | Self::None => Privilege::None,
        }
    }

    /// Returns the words that run a nix program with standard input and output as root; `None`
    /// where that needs a password.
    pub(super) fn prefix(&self) -> Option<&'static str> {
        match self {
            Self::Sudo => Some("sudo -n "),
            Self::Doas => Some("doas -n "),
            Self::Root | Self::Asks(_) | Self::None => Some(""),
            Self::SudoPassword(_) => None,
        }
    }
}

/// The command line of a client of the session's master.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(crate) options: Vec<String>,
    pub(crate) host: String,
    /// The machine as people know it.
    pub(crate) name: String,
    pub(crate) deadline: Duration,
}

impl Client {
    pub(super) fn cmd(&self) -> Cmd {
        // The locale is fixed, because OpenSSH servers often accept LC_* and messages are parsed.
        Cmd::new("ssh").args(&self.options).env("LC_ALL", "C.UTF-8").deadline(self.deadline)
    }

    pub(super) fn run(&self, argv: &[&str]) -> Cmd {
        let cmd = self.cmd().args(["--", &self.host]).arg(remote_command(argv));
        cmd.remote(program(argv), &self.name)
    }

    /// Returns `argv` as a command of root. Where that is not allowed, sudo's own message says
    /// so.
    pub(super) fn root(&self, escalation: &PrivilegeEscalation, argv: &[&str]) -> Cmd {
        let cmd = match escalation {
            PrivilegeEscalation::Root => self.run(argv),
            PrivilegeEscalation::Doas | PrivilegeEscalation::Asks(PasswordProgram::Doas) => {
                self.run(&[&["doas", "-n", "--"], argv].concat())
            }
            PrivilegeEscalation::SudoPassword(password) => {
                let guard = ["sh", "-c", AFTER_MARK, "sh", MARK];
                self.run(&[&SUDO[..], &guard, argv].concat()).preamble(fed(password, MARK))
            }
            PrivilegeEscalation::Sudo
            | PrivilegeEscalation::Asks(PasswordProgram::Sudo)
            | PrivilegeEscalation::None => self.run(&[&["sudo", "-n", "--"], argv].concat()),
        };
        cmd.remote(program(argv), &self.name)
    }

    /// Says whether sudo accepts `password`; the inner error is sudo's message.
    pub(super) fn try_password(&self, password: &Secret) -> Result<Result<(), String>, SshError> {
        let line = Secret::new([password.expose(), b"\n"].concat());
        let output = self
            .run(&[&["env", "LC_ALL=C"], &SUDO[..], &["true"]].concat())
            .preamble(line)
            .output()
            .map_err(|error| SshError::classify(&self.host, error))?;
        Ok(if output.status.success() { Ok(()) } else { Err(output.stderr.trim().to_owned()) })
    }
}

/// What people call the program of `argv`.
fn program<'a>(argv: &[&'a str]) -> &'a str {
    match argv {
        ["sh", ..] => "a script",
        [path, ..] => path.rsplit('/').next().unwrap_or(path),
        [] => "a shell",
    }
}

fn fed(password: &Secret, mark: &str) -> Secret {
    Secret::new([password.expose(), b"\n", mark.as_bytes(), b"\n"].concat())
}
