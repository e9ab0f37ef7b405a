//! Waits until the expected machine answers, and accepts no other.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Endpoint, HostKey, HostKeyWatcher, Session, SshError};
use crate::error::{Advice, Exit};
use crate::exec;

/// Time limit of one attempt; a loaded machine needs seconds for a key exchange.
const TRY: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_secs(1);
/// Time after which a machine with another key, such as the installer after a reboot, counts as
/// stuck.
const STAYS: Duration = Duration::from_secs(5 * 60);
/// Time after the first answer in which logins may fail: sshd starts before logins are allowed.
/// Later, the key is not authorized.
const LOGIN_GRACE: Duration = Duration::from_secs(90);

/// What an attempt found in place of the expected machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing answers yet.
    Nothing { why: String },
    /// A machine with another key of this run answers at an address.
    Other { name: String, at: Box<Endpoint> },
    /// The expected machine answers, but allows no logins yet.
    NoLogin { why: String },
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { why } => write!(f, "nothing answers yet ({why})"),
            Self::Other { name, at } => write!(f, "{name} answers at {at}"),
            Self::NoLogin { why } => write!(f, "it answers, but lets nobody in yet ({why})"),
        }
    }
}

/// A machine that may answer in place of the expected one.
#[derive(Debug, Clone)]
pub struct Other {
    /// Name for people, as `the installer`.
    pub name: String,
    pub key: HostKey,
    /// Whether it may answer until a person acts, as an initrd that waits for a passphrase.
    pub may_stay: bool,
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
            Self::Deadline { last: Seen::Other { name, .. }, .. } => format!(
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
            // An initrd still waits for its passphrase: a person is needed.
            Self::Deadline { last: Seen::Other { .. }, .. } => Exit::Person,
            Self::Deadline { .. } => Exit::Failed,
            Self::Ssh(error) => error.exit(),
        }
    }
}

/// Polls until `expected` answers at the first of `places` and allows the login; returns the
/// session.
///
/// The other places are scanned concurrently: the expected key there means that the machine's
/// address changed. `others` may answer in the meantime. `on_tick` is called with what each
/// attempt found. An unknown key ends the wait at the first place, and is ignored at the others.
pub fn wait_for(
    places: &[Endpoint],
    expected: &HostKey,
    others: &[Other],
    run_dir: &Path,
    deadline: Duration,
    mut on_tick: impl FnMut(&Seen),
) -> Result<Session, WaitError> {
    let Some((first, elsewhere)) = places.split_first() else {
        return Err(SshError::NoPlace.into());
    };
    let started = Instant::now();
    let watcher = HostKeyWatcher::start(elsewhere, expected.negotiation());
    let mut first_answer = None;
    let mut stays_since = None;
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        let mut seen = match attempt(first, expected, others, run_dir, TRY.min(left))? {
            Ok(session) => return Ok(session),
            Err(seen) => seen,
        };
        while let (Seen::Nothing { .. }, Some((place, key))) = (&seen, watcher.next(Duration::ZERO))
        {
            if key == *expected {
                let place = Endpoint { may_ask: first.may_ask, ..place };
                match log_in(&place, expected, run_dir, TRY)? {
                    Ok(session) => return Ok(session),
                    Err(other) => seen = other,
                }
            } else if let Some(other) = others.iter().find(|other| other.key == key) {
                seen = Seen::Other { name: other.name.clone(), at: Box::new(place) };
            }
        }
        if let Seen::NoLogin { why } = &seen {
            let first_answer: Instant = *first_answer.get_or_insert_with(Instant::now);
            if first_answer.elapsed() > LOGIN_GRACE {
                let (to, why) = (first.to_string(), why.clone());
                return Err(SshError::Auth { to, why }.into());
            }
        }
        on_tick(&seen);
        let stays = stays(&seen, others, &mut stays_since);
        if stays || started.elapsed() + PAUSE >= deadline {
            let to = first.to_string();
            return Err(WaitError::Deadline { to, after: started.elapsed(), last: seen });
        }
        exec::sleep(PAUSE).map_err(SshError::from)?;
    }
}

/// Says whether a machine that should have gone has answered for [`STAYS`].
fn stays(seen: &Seen, others: &[Other], since: &mut Option<Instant>) -> bool {
    let should_go = matches!(seen, Seen::Other { name, .. }
        if others.iter().any(|other| other.name == *name && !other.may_stay));
    if !should_go {
        *since = None;
        return false;
    }
    since.get_or_insert_with(Instant::now).elapsed() > STAYS
}

fn attempt(
    endpoint: &Endpoint,
    expected: &HostKey,
    others: &[Other],
    run_dir: &Path,
    deadline: Duration,
) -> Result<Result<Session, Seen>, SshError> {
    let silent = Endpoint { may_ask: false, ..endpoint.clone() };
    match answering(&silent, expected, others, deadline) {
        Ok(None) => log_in(endpoint, expected, run_dir, deadline),
        Ok(Some(name)) => Ok(Err(Seen::Other { name, at: Box::new(silent) })),
        Err(error) if error.may_pass() => Ok(Err(Seen::Nothing { why: reason(&error) })),
        Err(error) => Err(error),
    }
}

fn log_in(
    endpoint: &Endpoint,
    expected: &HostKey,
    run_dir: &Path,
    deadline: Duration,
) -> Result<Result<Session, Seen>, SshError> {
    let silent = Endpoint { may_ask: false, ..endpoint.clone() };
    match Session::open(&silent, expected, run_dir, deadline) {
        Ok(session) => Ok(Ok(session)),
        // The key may have a passphrase, which a person is prompted for once.
        Err(SshError::Auth { .. }) if endpoint.can_ask() => {
            Session::open(endpoint, expected, run_dir, deadline).map(Ok)
        }
        Err(error) if error.may_pass() || matches!(error, SshError::Auth { .. }) => {
            Ok(Err(Seen::NoLogin { why: reason(&error) }))
        }
        Err(error) => Err(error),
    }
}

/// Returns the other machine that answers; `None` when it is the expected one.
fn answering(
    endpoint: &Endpoint,
    expected: &HostKey,
    others: &[Other],
    deadline: Duration,
) -> Result<Option<String>, SshError> {
    let keys: Vec<HostKey> =
        std::iter::once(expected).chain(others.iter().map(|other| &other.key)).cloned().collect();
    let offered = super::identify(endpoint, &keys, deadline)?;
    if offered == *expected {
        return Ok(None);
    }
    Ok(others.iter().find(|other| other.key == offered).map(|other| other.name.clone()))
}

/// Returns the last line of ssh's message.
fn reason(error: &SshError) -> String {
    let text = error.to_string();
    text.lines().next_back().unwrap_or_default().trim_start_matches("> ").trim().to_owned()
}
