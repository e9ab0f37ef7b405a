//! Errors of connections, classified by the messages of OpenSSH.

use std::time::Duration;

use super::HostKey;
use crate::error::{Advice, Exit};
use crate::exec::ExecError;
use crate::ui::text::clean;

/// Why a connection failed.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    #[error("{to} cannot be reached{}", said(why))]
    Unreachable { to: String, why: String },
    #[error("{to} takes no SSH connections{}", said(why))]
    Refused { to: String, why: String },
    #[error("{to} did not answer within {} s", after.as_secs())]
    TimedOut { to: String, after: Duration },
    #[error("{to} shows another host key than the expected one{}", compare(expected, offered))]
    KeyMismatch { to: String, expected: Vec<HostKey>, offered: HostKey },
    #[error("{to} shows a host key that nothing vouches for\noffered  {}", describe(offered))]
    UnknownKey { to: String, offered: HostKey },
    #[error("{to} has no host key of the kinds that are asked for{}", said(why))]
    NoSuchKey { to: String, why: String },
    #[error("the host key of a jump host on the way to {to} could not be verified{}", said(why))]
    JumpKey { to: String, why: String },
    #[error("{to} refuses the login{}", said(why))]
    Auth { to: String, why: String },
    #[error("nobody could be asked on the way to {to}: {question}")]
    Unanswered { to: String, question: String },
    #[error("the ssh option {option:?} cannot be used: {why}")]
    Option { option: String, why: &'static str },
    #[error("this ssh cannot do what is needed{}", said(why))]
    TooOld { why: String },
    #[error("the connection to {to} failed{}", said(why))]
    Failed { to: String, why: String },
    #[error("there is no address to look at")]
    NoPlace,
    #[error("{doing} failed: {source}")]
    Io { doing: &'static str, source: std::io::Error },
    #[error(transparent)]
    Exec(#[from] ExecError),
}

/// What ssh said, and through it the server, each line marked as theirs.
fn said(why: &str) -> String {
    let why = clean(why);
    why.lines().filter(|line| !line.trim().is_empty()).map(|line| format!("\n> {line}")).collect()
}

fn describe(key: &HostKey) -> String {
    format!("{} ({})", key.fingerprint(), key.algorithm())
}

fn compare(expected: &[HostKey], offered: &HostKey) -> String {
    let mut lines: String =
        expected.iter().map(|key| format!("\nexpected {}", describe(key))).collect();
    lines.push_str(&format!("\noffered  {}", describe(offered)));
    lines
}

impl SshError {
    /// Classifies a failed run of ssh by OpenSSH's messages.
    pub(super) fn classify(to: &str, error: ExecError) -> Self {
        let to = to.to_owned();
        let (ExecError::Failed { .. } | ExecError::Deadline { .. } | ExecError::Lost { .. }) =
            &error
        else {
            return Self::Exec(error);
        };
        if let ExecError::Deadline { deadline, .. } = error {
            return Self::TimedOut { to, after: deadline };
        }
        let why = error.stderr().trim().to_owned();
        let said = |words: &[&str]| words.iter().any(|word| why.contains(word));
        if said(&["Bad configuration option: knownhostscommand"]) {
            Self::TooOld { why }
        } else if said(&["Host key verification failed"]) {
            // The caller has checked the machine's own key, so this is about a jump host's.
            Self::JumpKey { to, why }
        } else if said(&["no matching host key type", "no hostkey alg"]) {
            Self::NoSuchKey { to, why }
        } else if said(&["Permission denied (", "Too many authentication failures"]) {
            Self::Auth { to, why }
        } else if said(&[
            "Could not resolve hostname",
            "No route to host",
            "Network is unreachable",
            "Host is down",
            "timed out",
        ]) {
            Self::Unreachable { to, why }
        } else if said(&[
            "Connection refused",
            "kex_exchange_identification",
            "Connection closed",
            "Connection reset",
            "banner exchange",
        ]) {
            Self::Refused { to, why }
        } else if matches!(error, ExecError::Lost { .. }) {
            let why = if why.is_empty() { "the connection was lost".to_owned() } else { why };
            Self::Unreachable { to, why }
        } else if why.is_empty() {
            Self::Exec(error)
        } else {
            Self::Failed { to, why }
        }
    }

    /// Says whether trying again can help, because the machine may still be booting.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Refused { .. }
                | Self::TimedOut { .. }
                | Self::Failed { .. }
        )
    }
}

impl Advice for SshError {
    fn hint(&self) -> String {
        match self {
            Self::Unreachable { .. } => {
                "Check the address, the cable and that the machine is on; then run the same \
                 command again."
                    .into()
            }
            Self::Refused { .. } | Self::TimedOut { .. } => {
                "The machine may still be starting, or sshd does not run or listens on another \
                 port: give the port as HOST:PORT or with -p, then run the same command again."
                    .into()
            }
            Self::KeyMismatch { .. } => {
                "Nothing was sent to it. Another machine answers at this address (an address \
                 given anew, a wrong port), or it runs another system than expected (booted from \
                 another medium, installed anew), or somebody is in between. Compare the offered \
                 fingerprint with the one that the machine's console shows (ssh-keygen -lf \
                 /etc/ssh/ssh_host_ed25519_key.pub). If it is right, remove the old key with \
                 ssh-keygen -R HOST, or name the installer's key with --installer-fingerprint."
                    .into()
            }
            Self::UnknownKey { offered, .. } => format!(
                "Compare it with the fingerprint on the machine's console. If it is the same, \
                 add --installer-fingerprint {}",
                offered.fingerprint()
            ),
            Self::NoSuchKey { .. } => {
                "See which keys the machine has in /etc/ssh, and name one of them.".into()
            }
            Self::JumpKey { .. } => {
                "Connect to the jump host once by yourself (ssh JUMPHOST) and compare its key; \
                 then run the same command again."
                    .into()
            }
            Self::Unanswered { .. } => {
                "Run it in a terminal without --yes, add the key to your agent (ssh-add), or \
                 give the password in SSHPASS with --env-password."
                    .into()
            }
            Self::Auth { why, .. } if why.contains("Too many authentication failures") => {
                "The agent offers more keys than the machine lets anybody try: name the right one \
                 with -i FILE (its public half is enough), or, for a login with a password, add \
                 --ssh-option PubkeyAuthentication=no."
                    .into()
            }
            Self::Auth { .. } => {
                "Name the key with -i FILE, or add it to the agent (ssh-add); a root login needs \
                 the key in the machine's authorized_keys. A login with a password takes a \
                 terminal, or SSHPASS and --env-password. `ssh -v` shows what is tried."
                    .into()
            }
            Self::Option { .. } => {
                "Leave it out. What else ssh knows can be set with --ssh-option, or in your \
                 ssh_config; the check of the host key stays as it is."
                    .into()
            }
            Self::TooOld { .. } => "Install OpenSSH 8.5 or newer on this machine.".into(),
            Self::Failed { .. } => "Try `ssh -v` to the same machine to see more.".into(),
            Self::NoPlace => "Name the machine: landfall bootstrap HOST TARGET".into(),
            Self::Io { .. } => "Check the folder's permissions and the space on its disk.".into(),
            Self::Exec(error) => error.hint(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::KeyMismatch { .. }
            | Self::UnknownKey { .. }
            | Self::JumpKey { .. }
            | Self::Unanswered { .. } => Exit::Person,
            Self::Option { .. } | Self::TooOld { .. } | Self::NoPlace => Exit::Usage,
            Self::Exec(error) => error.exit(),
            _ => Exit::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(stderr: &str) -> SshError {
        SshError::classify(
            "root@h",
            ExecError::Failed {
                command: "ssh".into(),
                status: "exit status 255".into(),
                code: Some(255),
                stderr: stderr.into(),
            },
        )
    }

    #[test]
    fn the_words_of_openssh_are_told_apart() {
        let refused = "ssh: connect to host h port 22: Connection refused";
        assert!(matches!(failed(refused), SshError::Refused { .. }));
        let reset = "kex_exchange_identification: read: Connection reset by peer";
        assert!(matches!(failed(reset), SshError::Refused { .. }));
        let name = "ssh: Could not resolve hostname h: Name or service not known";
        assert!(matches!(failed(name), SshError::Unreachable { .. }));
        let auth = "root@h: Permission denied (publickey).";
        assert!(matches!(failed(auth), SshError::Auth { .. }));
        let kind = "Unable to negotiate with h port 22: no matching host key type found. \
                    Their offer: ssh-ed25519";
        assert!(matches!(failed(kind), SshError::NoSuchKey { .. }));
        let old = "command-line: line 0: Bad configuration option: knownhostscommand";
        assert_eq!(failed(old).exit(), Exit::Usage);
        assert!(matches!(failed("something new"), SshError::Failed { .. }));
        assert!(matches!(failed(""), SshError::Exec(_)));
    }

    #[test]
    fn a_mismatch_shows_both_fingerprints() {
        let key: HostKey =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
                .parse()
                .unwrap();
        let other: HostKey =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzRdf"
                .parse()
                .unwrap();
        let error = SshError::KeyMismatch {
            to: "h".into(),
            expected: vec![key.clone()],
            offered: other.clone(),
        };
        let text = error.to_string();
        assert!(text.contains(&key.fingerprint()), "{text}");
        assert!(text.contains(&other.fingerprint()), "{text}");
        assert_eq!(error.exit(), Exit::Person);
    }
}
