//! Which host key answers: learned without trusting it, and without logging in.
//!
//! ssh is told to accept only what a program named by `KnownHostsCommand` prints.
//! That program notes the offered key and prints nothing, so the connection ends
//! right after the key exchange. Unlike ssh-keyscan this follows ssh_config and
//! jump hosts.

use std::path::Path;
use std::time::Duration;

use super::options::{asking, check, config_path, patience, plain, reach, unanswered, unchanged};
use super::{Endpoint, HostKey, SshError};
use crate::exec::Cmd;
use crate::secret::private_temp_dir;

/// Key types without certificates, best first.
const ALGORITHMS: &str = "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,\
                          ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256";

/// Notes the key's type and body; for the first call of ssh, which only asks for
/// the order of algorithms, it has neither.
const RECORD: &str = r#"/bin/sh -c 'echo "$1" "$2" >>"$0"'"#;

/// The host key that answers at `endpoint`, not trusted in any way.
///
/// `algorithms` is a list for `HostKeyAlgorithms`, in order of preference; a
/// machine has one key of each kind.
pub fn scan_key(
    endpoint: &Endpoint,
    deadline: Duration,
    algorithms: Option<&str>,
) -> Result<HostKey, SshError> {
    check(&endpoint.options)?;
    let dir = private_temp_dir(&std::env::temp_dir())
        .map_err(|source| SshError::Io { doing: "making a temporary folder", source })?;
    let record = dir.path().join("offered");

    let cmd = Cmd::new("ssh")
        .arg("-N")
        .args(learning(&record, algorithms.unwrap_or(ALGORITHMS)))
        .args(reach(endpoint))
        .args(plain(deadline));
    let cmd =
        asking(endpoint, cmd).args(["--", &endpoint.host]).deadline(patience(endpoint, deadline));
    let outcome = cmd.run();

    if let Some(key) = read_record(&record) {
        return Ok(key);
    }
    let to = endpoint.to_string();
    match outcome {
        Ok(_) => Err(SshError::Failed { to, why: "ssh ended without a key exchange".into() }),
        Err(error) => Err(unanswered(endpoint, SshError::classify(&to, error))),
    }
}

fn learning(record: &Path, algorithms: &str) -> Vec<String> {
    [
        "StrictHostKeyChecking=yes".to_owned(),
        "UserKnownHostsFile=/dev/null".into(),
        "GlobalKnownHostsFile=/dev/null".into(),
        format!("KnownHostsCommand={RECORD} {} %t %K", config_path(record)),
        format!("HostKeyAlgorithms={algorithms}"),
        // A running master would answer for the machine without any key.
        "ControlMaster=no".into(),
        "ControlPath=none".into(),
        "PreferredAuthentications=none".into(),
    ]
    .into_iter()
    .chain(unchanged())
    .map(|option| format!("-o{option}"))
    .collect()
}

fn read_record(record: &Path) -> Option<HostKey> {
    let text = std::fs::read_to_string(record).ok()?;
    text.lines().rev().find_map(|line| line.parse().ok())
}

/// All host keys that answer at `endpoint`, one of each kind, the best first.
pub fn scan_keys(endpoint: &Endpoint, deadline: Duration) -> Result<Vec<HostKey>, SshError> {
    const KINDS: [&str; 3] = [
        "ssh-ed25519",
        "ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521",
        "rsa-sha2-512,rsa-sha2-256",
    ];
    let mut keys = Vec::new();
    for kind in KINDS {
        match scan_key(endpoint, deadline, Some(kind)) {
            Ok(key) => keys.push(key),
            Err(SshError::NoSuchKey { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(keys)
}

/// The host key that answers, when it is one of `expected`; else the error that
/// says what was offered.
///
/// The machine is asked for a key of the expected kinds first: it may have others.
pub fn identify(
    endpoint: &Endpoint,
    expected: &[HostKey],
    deadline: Duration,
) -> Result<HostKey, SshError> {
    let mut kinds: Vec<&str> = Vec::new();
    for kind in expected.iter().map(HostKey::negotiation) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let algorithms = (!kinds.is_empty()).then(|| kinds.join(","));
    let offered = match scan_key(endpoint, deadline, algorithms.as_deref()) {
        Err(SshError::NoSuchKey { .. }) if algorithms.is_some() => {
            scan_key(endpoint, deadline, None)?
        }
        other => other?,
    };
    check_key(&endpoint.to_string(), &offered, expected)?;
    Ok(offered)
}

/// Whether the key that `to` offered is one of `expected`.
pub fn check_key(to: &str, offered: &HostKey, expected: &[HostKey]) -> Result<(), SshError> {
    let (to, offered) = (to.to_owned(), offered.clone());
    if expected.contains(&offered) {
        Ok(())
    } else if expected.is_empty() {
        Err(SshError::UnknownKey { to, offered })
    } else {
        Err(SshError::KeyMismatch { to, expected: expected.to_vec(), offered })
    }
}
