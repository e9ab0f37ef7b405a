//! Step 12: from here on the primary user works, not root; and that user can
//! reach the forges that the repositories come from.

use crate::context::Context;
use crate::error::StepError;
use crate::git::Repo;
use crate::known_hosts;
use crate::machine::Phase;
use crate::ssh::{Endpoint, known_hosts_name, known_keys};
use crate::step::{Effect, Evidence, Machine, Status, Step, StepId};
use crate::steps::remote;

pub struct Login;

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
        &[Effect {
            machine: Machine::Target,
            change: "adds the forges' published host keys to the user's known_hosts",
            reversible: true,
        }]
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if cx.phase != Phase::Installed {
            return Ok(Status::Ready);
        }
        let user = cx.primary_user()?;
        let session = &cx.target()?.session;
        let logged_in = session.run(&["id", "-un"]).read()?;
        if logged_in != user {
            return Ok(Status::Blocked(cannot_log_in(&user, &logged_in)));
        }
        let known = session.run(&["cat", ".ssh/known_hosts"]).output()?.text();
        if forge_lines(cx)?.iter().any(|line| !known.lines().any(|there| there == line)) {
            return Ok(Status::Ready);
        }
        let sudo = if session.can_be_root() { ", with sudo" } else { "" };
        Ok(Status::Done(Evidence::new(format!("{user}{sudo}")).with("user", user)))
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let mut lines = forge_lines(cx)?.join("\n");
        lines.push('\n');
        let session = &cx.target()?.session;
        session.script_with_stdin(ADD_KNOWN_HOSTS, &[]).input(lines.into_bytes()).run().map_err(
            |error| StepError::from(error).doing("the forges' host keys could not be written"),
        )?;
        Ok(())
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
        if let Some(url) = remote::url(&Repo::open(&dir)?)? {
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
