//! Step 12: from here on the primary user works, not root; and that user can
//! reach the forges that the repositories come from.

use serde::{Deserialize, Serialize};
use sha2::Digest;

use super::context::Context;
use super::secrets::home_manager;
use super::shared_edit;
use crate::error::StepError;
use crate::git::Repo;
use crate::run::facts::{Said, StepFacts};
use crate::run::step::{Effect, Evidence, Machine, Status, StepId};
use crate::ssh::known_hosts;
use crate::ssh::{Endpoint, known_hosts_name, known_keys};
use crate::steps::Step;
use crate::target::Phase;

pub(crate) struct Login;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct LoginOutput {
    pub(crate) user: Option<String>,
    /// The user's known_hosts takes no lines.
    known_hosts_closed: Option<Said>,
}

impl StepFacts for LoginOutput {
    const STEP: StepId = StepId::Login;
}

/// Adds the lines of standard input that are not there yet.
const ADD_KNOWN_HOSTS: &str = r#"
set -eu
umask 077
mkdir -p ~/.ssh
touch ~/.ssh/known_hosts
while IFS= read -r line; do
  grep -qxF -- "$line" ~/.ssh/known_hosts || printf '%s\n' "$line" >> ~/.ssh/known_hosts
done
"#;

impl Step for Login {
    fn id(&self) -> StepId {
        StepId::Login
    }

    fn effects(&self, _cx: &Context) -> &'static [Effect] {
        &[
            Effect {
                machine: Machine::Target,
                change: "adds the forges' published host keys to the user's known_hosts",
                reversible: true,
            },
            Effect {
                machine: Machine::Target,
                change: "writes the user's age key, where home-manager's sops reads one",
                reversible: true,
            },
        ]
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if cx.connection.phase != Phase::Installed {
            return Ok(Status::Ready);
        }
        let user = cx.primary_user()?;
        let session = &cx.target()?.session;
        let logged_in = session.run(&["id", "-un"]).read()?;
        if logged_in != user {
            return Ok(Status::Blocked(cannot_log_in(&user, &logged_in)));
        }
        let known = session.run(&["cat", ".ssh/known_hosts"]).output()?.text();
        let missing = |line: &String| !known.lines().any(|there| there == line);
        // A home may be read-only, or its known_hosts made by the configuration.
        let known_hosts_closed =
            cx.known_output::<LoginOutput>()?.and_then(|tried| tried.known_hosts_closed);
        if known_hosts_closed.is_none() && forge_lines(cx)?.iter().any(missing) {
            return Ok(Status::Ready);
        }
        if !user_key_in_place(cx)? {
            return Ok(Status::Ready);
        }
        let sudo = if session.can_be_root() { ", with sudo" } else { "" };
        let summary = format!("{user}{sudo}");
        let output = LoginOutput { user: Some(user), known_hosts_closed };
        Ok(Status::Done(Evidence::of(summary, &output)?))
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let lines = forge_lines(cx)?;
        if !lines.is_empty() {
            add_known_hosts(cx, &(lines.join("\n") + "\n"))?;
        }
        put_user_key(cx)
    }
}

/// Standard input becomes file $1, whole or not at all, readable by the user alone.
/// What home-manager's sops could not open before is opened now.
const PUT_KEY: &str = r#"
set -eu
umask 077
mkdir -p -- "${1%/*}"
cat > "$1.landfall"
mv -f -- "$1.landfall" "$1"
systemctl --user restart sops-nix.service 2>/dev/null || :
"#;

/// Prints mode and digest of file $1, where it is the user's.
const KEY_STATE: &str = r#"
[ -f "$1" ] && [ -O "$1" ] || exit 0
echo "$(stat -c %a -- "$1") $(sha256sum < "$1" | cut -d' ' -f1)"
"#;

/// Whether the user's age key is there, as this run has it.
fn user_key_in_place(cx: &Context) -> Result<bool, StepError> {
    let Some(home) = home_manager::with_file(cx)? else { return Ok(true) };
    let session = &cx.target()?.session;
    let state = session.script(KEY_STATE, &[home.key_file]).read()?;
    let Some((mode, digest)) = state.split_once(' ') else { return Ok(false) };
    // A run that is complete has no key to compare with.
    let same = cx.keys().user_age().is_none_or(|key| {
        let ours = sha2::Sha256::digest(key.key_file().expose());
        ours.iter().map(|byte| format!("{byte:02x}")).collect::<String>() == digest
    });
    Ok(mode == "600" && same)
}

fn put_user_key(cx: &Context) -> Result<(), StepError> {
    let Some(home) = home_manager::with_file(cx)? else { return Ok(()) };
    let Some(key) = cx.keys().user_age() else { return Ok(()) };
    let session = &cx.target()?.session;
    let put = session.script_with_stdin(PUT_KEY, &[home.key_file]).stdin(key.key_file());
    put.run().map_err(|error| {
        StepError::from(error).doing(format!("{} could not be written", home.key_file))
    })?;
    Ok(())
}

/// Adds lines to the user's known_hosts. A home that is closed to writing is no failure:
/// the journey does not hang on this file.
fn add_known_hosts(cx: &mut Context, lines: &str) -> Result<(), StepError> {
    let session = &cx.target()?.session;
    match session.script_with_stdin(ADD_KNOWN_HOSTS, &[]).input(lines.as_bytes()).run() {
        Ok(_) => Ok(()),
        // Not the connection.
        Err(error) if error.code().is_some_and(|code| code != 255) => {
            cx.events.warn(format!(
                "the forges' host keys are not in the user's known_hosts: {}",
                error.stderr().trim()
            ));
            let known_hosts_closed = Some(Said::Yes);
            cx.produce("", &LoginOutput { known_hosts_closed, ..LoginOutput::default() })
        }
        Err(error) => {
            Err(StepError::from(error).doing("the forges' host keys could not be written"))
        }
    }
}

/// Lines for the hosts that the repositories' remotes are on: published keys of
/// the large forges, else those that the operator trusts already.
fn forge_lines(cx: &Context) -> Result<Vec<String>, StepError> {
    if !super::repos::copied(cx)? {
        return Ok(Vec::new());
    }
    let mut lines = Vec::new();
    for dir in super::repos::dirs(cx) {
        if let Some(url) = shared_edit::url(&Repo::open(&dir)?)? {
            lines.extend(forge_of(&url)?);
        }
    }
    lines.sort();
    lines.dedup();
    Ok(lines)
}

/// The known_hosts lines of the host that a remote's URL names; none for a path.
fn forge_of(url: &str) -> Result<Vec<String>, StepError> {
    let ssh_url = match url.split_once("://") {
        Some(("ssh", _)) => url.split('/').take(3).collect::<Vec<_>>().join("/"),
        Some(_) => return Ok(Vec::new()),
        // user@host:path
        None => match url.split_once(':') {
            Some((host, _)) if !host.contains('/') => host.to_owned(),
            _ => return Ok(Vec::new()),
        },
    };
    let Ok(endpoint) = ssh_url.parse::<Endpoint>() else { return Ok(Vec::new()) };
    let name = known_hosts_name(&endpoint)?;
    let keys = match known_hosts::forge_keys(&endpoint.host) {
        Some(keys) => keys,
        None => known_keys(&endpoint)?,
    };
    Ok(keys.iter().map(|key| key.known_hosts_line(&name)).collect())
}

fn cannot_log_in(user: &str, logged_in: &str) -> StepError {
    StepError::new(
        format!("{user} cannot log in on the installed system"),
        format!("only {logged_in} can, with your key"),
        format!(
            "Give {user} your public key (users.users.{user}.openssh.authorizedKeys) in the \
             configuration that is installed first, or name another user with --user."
        ),
    )
}
