//! Finds out which host key a machine presents, without trusting it and without logging in.
//!
//! ssh accepts only keys that the program in `KnownHostsCommand` prints. Here that program
//! records the presented key and prints nothing, so that the connection ends right after the key
//! exchange. In contrast to ssh-keyscan, this follows ssh_config and jump hosts.

use std::path::Path;
use std::time::Duration;

use super::options::{asking, check, config_path, patience, plain, reach, unanswered, unchanged};
use super::{Endpoint, HostKey, SshError};
use crate::exec::Cmd;
use crate::secret::private_temp_dir;

/// Algorithms of plain keys (no certificates), in order of preference.
const ALGORITHMS: &str = "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,\
                          ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256";

/// Program that records the key's algorithm and base64. ssh calls it once before the key
/// exchange, without either, for the order of algorithms.
const RECORD: &str = r#"/bin/sh -c 'echo "$1" "$2" >>"$0"'"#;

/// Returns the host key that the machine at `endpoint` presents. It is not verified in any way.
///
/// `algorithms` is a value of `HostKeyAlgorithms`, in order of preference; a machine has at most
/// one key for each.
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
        // A running master would be reused, without a key exchange.
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

/// Returns all host keys that `endpoint` presents, one for each algorithm, in order of
/// preference.
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

/// Returns the presented host key when it is one of `expected`; fails with the presented key
/// otherwise.
///
/// The algorithms of the expected keys are requested first, because a machine may also have keys
/// of others.
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

/// Checks that the key that `to` presented is one of `expected`.
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
