//! Waiting until the machine that is expected answers, and nothing else.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Endpoint, HostKey, Session, SshError};
use crate::error::{Advice, Exit};
use crate::exec;

/// One try; a machine under load needs some seconds for a key exchange.
const TRY: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_secs(1);
/// What a person gets to type a passphrase.
const ASKING: Duration = Duration::from_secs(180);
/// A system that starts answers before it lets users in; longer than this it does
/// not know the key.
const LOGIN_GRACE: Duration = Duration::from_secs(90);

/// What a try found instead of the expected machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing answers yet.
    Nothing { why: String },
    /// A machine with another key of this run answers, by its name.
    Other { name: String },
    /// The expected machine answers, but lets nobody in yet.
    NoLogin { why: String },
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { why } => write!(f, "nothing answers yet ({why})"),
            Self::Other { name } => write!(f, "{name} answers"),
            Self::NoLogin { why } => write!(f, "it answers, but lets nobody in yet ({why})"),
        }
    }
}

/// Why the wait ended without a session.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    #[error("{to} did not come within {} s\nat the end {last}", after.as_secs())]
    Deadline { to: String, after: Duration, last: Seen },
    #[error(transparent)]
    Ssh(#[from] SshError),
}

impl Advice for WaitError {
    fn hint(&self) -> String {
        match self {
            Self::Deadline { last: Seen::Other { name }, .. } => format!(
                "See the machine's console: {name} answers there. The installer after a reboot \
                 means that the firmware started the stick again (take it out, or put the disk \
                 first); an initrd waits for the disk's passphrase. Then run the same command \
                 again."
            ),
            Self::Deadline { .. } => {
                "See the machine's console: it may wait for a passphrase or have no network. \
                 Then run the same command again."
                    .into()
            }
            Self::Ssh(error) => error.hint(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            // A passphrase that nobody typed: a person is needed.
            Self::Deadline { last: Seen::Other { .. }, .. } => Exit::Person,
            Self::Deadline { .. } => Exit::Failed,
            Self::Ssh(error) => error.exit(),
        }
    }
}

/// Polls until `expected` answers at `endpoint` and lets the user in.
///
/// `others` are the keys that may answer there in the meantime, with names for
/// people; `on_tick` hears what each try saw. An unknown key ends the wait at once.
pub fn wait_for(
    endpoint: &Endpoint,
    expected: &HostKey,
    others: &[(String, HostKey)],
    run_dir: &Path,
    deadline: Duration,
    mut on_tick: impl FnMut(&Seen),
) -> Result<Session, WaitError> {
    let started = Instant::now();
    let mut first_answer = None;
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        let seen = match attempt(endpoint, expected, others, run_dir, TRY.min(left))? {
            Ok(session) => return Ok(session),
            Err(seen) => seen,
        };
        if let Seen::NoLogin { why } = &seen {
            let first = *first_answer.get_or_insert_with(Instant::now);
            if first.elapsed() > LOGIN_GRACE {
                let (to, why) = (endpoint.to_string(), why.clone());
                return Err(SshError::Auth { to, why }.into());
            }
        }
        on_tick(&seen);
        if started.elapsed() + PAUSE >= deadline {
            let to = endpoint.to_string();
            return Err(WaitError::Deadline { to, after: deadline, last: seen });
        }
        exec::sleep(PAUSE).map_err(SshError::from)?;
    }
}

fn attempt(
    endpoint: &Endpoint,
    expected: &HostKey,
    others: &[(String, HostKey)],
    run_dir: &Path,
    deadline: Duration,
) -> Result<Result<Session, Seen>, SshError> {
    let silent = Endpoint { may_ask: false, ..endpoint.clone() };
    match answering(&silent, expected, others, deadline) {
        Ok(None) => {}
        Ok(Some(name)) => return Ok(Err(Seen::Other { name })),
        Err(error) if error.may_pass() => return Ok(Err(Seen::Nothing { why: reason(&error) })),
        Err(error) => return Err(error),
    }
    match Session::open(&silent, expected, run_dir, deadline) {
        Ok(session) => Ok(Ok(session)),
        // The key may have a passphrase: a person is asked once.
        Err(SshError::Auth { .. }) if endpoint.may_ask => {
            Session::open(endpoint, expected, run_dir, ASKING).map(Ok)
        }
        Err(error) if error.may_pass() || matches!(error, SshError::Auth { .. }) => {
            Ok(Err(Seen::NoLogin { why: reason(&error) }))
        }
        Err(error) => Err(error),
    }
}

/// The name of the other machine that answers, or none when it is the expected one.
fn answering(
    endpoint: &Endpoint,
    expected: &HostKey,
    others: &[(String, HostKey)],
    deadline: Duration,
) -> Result<Option<String>, SshError> {
    let keys: Vec<HostKey> =
        std::iter::once(expected).chain(others.iter().map(|(_, key)| key)).cloned().collect();
    let offered = super::identify(endpoint, &keys, deadline)?;
    if offered == *expected {
        return Ok(None);
    }
    Ok(others.iter().find(|(_, key)| *key == offered).map(|(name, _)| name.clone()))
}

/// The last line of what ssh said.
fn reason(error: &SshError) -> String {
    let text = error.to_string();
    text.lines().next_back().unwrap_or_default().trim().to_owned()
}
