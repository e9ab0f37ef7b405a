//! How commands become root's on a machine where the login is another user's.
//!
//! A password travels over ssh's standard input to sudo, never in an argument, and
//! rests nowhere on the machine. Because sudo may read it or not, what comes after it
//! begins with a mark, and the command sees only what comes after the mark.

use std::time::Duration;

use super::{SshError, remote_command};
use crate::exec::Cmd;
use crate::secret::Secret;

/// How commands become root's on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// The login is root's.
    Root,
    /// sudo asks for no password.
    Sudo,
    /// sudo takes the password that the session was given.
    SudoPassword,
    /// doas asks for no password.
    Doas,
    /// Not at all; or by a password that the session does not have.
    None,
}

/// The same, with what it takes.
#[derive(Debug, Clone)]
pub(super) enum PrivilegeEscalation {
    Root,
    Sudo,
    SudoPassword(Secret),
    Doas,
    /// There is a program, and it asks for a password.
    Asks(PasswordProgram),
    None,
}

/// The program that asks for a password before it makes a command root's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordProgram {
    Sudo,
    /// It takes a password from a terminal alone.
    Doas,
}

/// Prints one word that [`PrivilegeEscalation::parse`] knows.
pub(super) const PROBE: &str = r#"
if [ "$(id -u)" = 0 ]; then echo root
elif sudo -n -- true; then echo sudo
elif doas -n -- true; then echo doas
elif command -v sudo >/dev/null; then echo sudo-asks
elif command -v doas >/dev/null; then echo doas-asks
else echo none
fi 2>/dev/null
"#;

/// Stands before what the command may read. Shorter than any word that is scrubbed.
const MARK: &str = ":::::";

/// Reads up to the mark, which is its first argument, and becomes the command. The
/// shell reads no byte further.
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

    /// The words before a program of nix that runs as root and talks over its standard
    /// input and output; none where that takes more than words.
    pub(super) fn prefix(&self) -> Option<&'static str> {
        match self {
            Self::Sudo => Some("sudo -n "),
            Self::Doas => Some("doas -n "),
            Self::Root | Self::Asks(_) | Self::None => Some(""),
            Self::SudoPassword(_) => None,
        }
    }
}

/// A client of the session's master, without the command.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub options: Vec<String>,
    pub host: String,
    /// The machine as people know it.
    pub name: String,
    pub deadline: Duration,
}

impl Client {
    pub(super) fn cmd(&self) -> Cmd {
        // Messages in one language; OpenSSH's servers often take LC_* over.
        Cmd::new("ssh").args(&self.options).env("LC_ALL", "C.UTF-8").deadline(self.deadline)
    }

    pub(super) fn run(&self, argv: &[&str]) -> Cmd {
        let cmd = self.cmd().args(["--", &self.host]).arg(remote_command(argv));
        cmd.remote(program(argv), &self.name)
    }

    /// `argv` as root. Without the right to it, sudo says so.
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

    /// Whether sudo takes `password`; else what it said.
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
