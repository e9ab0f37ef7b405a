//! `landfall ssh`: a session on a host, with the key that its run pinned.

use crate::address::ADDRESS;
use crate::cli::{Cli, SshArgs};
use crate::error::{Exit, StepError};
use crate::journal;
use crate::keys::RunKeys;
use crate::ssh::{self, Endpoint};
use crate::state::{HostState, RunDir, StateDir};
use crate::step::StepId;

pub fn run(_cli: &Cli, args: &SshArgs) -> Result<Exit, StepError> {
    let host = StateDir::open()?.host(&args.host)?;
    let none = || {
        StepError::new(
            format!("no run of {} has installed a system", args.host),
            "only a run knows the key that the host must show",
            "landfall bootstrap HOST TARGET installs it.",
        )
        .exit(Exit::Usage)
    };
    let dir = installed_by(&host)?.ok_or_else(none)?;
    let lines = journal::read(&dir.journal())?;
    let identity = journal::identity(&lines).ok_or_else(none)?;
    let key = RunKeys::in_dir(dir.path()).public().ok_or_else(none)?;
    // Where it answered last; the installer may have had another address.
    let reboot = journal::finished(&lines, StepId::Reboot);
    let last = reboot.and_then(|evidence| evidence.fact(ADDRESS)).unwrap_or(&identity.target);
    let address = args.installed_address.as_deref().unwrap_or(last);
    let mut endpoint: Endpoint = address.parse().map_err(StepError::from)?;
    endpoint.port = args.port.or(endpoint.port);
    endpoint.identity_file.clone_from(&args.identity_file);
    endpoint.options.clone_from(&args.ssh_option);
    if let Some(user) = journal::finished(&lines, StepId::Login).and_then(|e| e.fact("user")) {
        endpoint = endpoint.with_user(user);
    }
    let words: Vec<&str> = args.command.iter().map(String::as_str).collect();
    // One word is a command line, as with ssh itself; several are an argv.
    let command = match words.as_slice() {
        [line] => vec!["sh", "-c", *line],
        _ => words,
    };
    Err(ssh::interactive(&endpoint, &key, dir.path(), &command)?.exec().into())
}

/// The run whose system the machine has: a later one that has not come to its reboot has
/// changed nothing of what answers. Without any, the latest.
fn installed_by(host: &HostState) -> Result<Option<RunDir>, StepError> {
    let mut runs = host.runs()?;
    runs.sort_by_key(|run| std::cmp::Reverse(run.written()));
    let has_booted = |run: &RunDir| {
        journal::read(&run.journal())
            .is_ok_and(|lines| journal::finished(&lines, StepId::Reboot).is_some())
    };
    match runs.into_iter().find(has_booted) {
        Some(run) => Ok(Some(run)),
        None => Ok(host.latest()?),
    }
}
