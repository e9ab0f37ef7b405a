//! `landfall ssh`: a session on a host, with the key that its run pinned; or in its initrd,
//! with the key that the run made for that.

use std::path::PathBuf;

use clap::Args;

use super::Cli;
use super::session::left_over;
use crate::error::{Exit, StepError};
use crate::run::journal;
use crate::run::run_dir::{HostState, RunDir, StateDir};
use crate::run::step::StepId;
use crate::ssh;
use crate::ssh::Endpoint;
use crate::steps::identity::run_keys::RunKeys;
use crate::steps::login::LoginOutput;
use crate::steps::reboot::RebootOutput;

#[derive(Debug, Clone, Args)]
pub(crate) struct SshArgs {
    pub(crate) host: String,

    /// Private key for the login
    #[arg(short = 'i', long = "identity-file", value_name = "FILE")]
    pub(crate) identity_file: Option<PathBuf>,

    /// SSH port of the host, if another than at the last run
    #[arg(short = 'p', long = "ssh-port", value_name = "PORT")]
    pub(crate) port: Option<u16>,

    /// Option for ssh; never one that weakens the check of the host key
    #[arg(long, value_name = "OPTION")]
    pub(crate) ssh_option: Vec<String>,

    /// Where the host answers, if elsewhere than at the last run
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) installed_address: Option<String>,

    /// The SSH server of the initrd, under its own key: to unlock the disk
    #[arg(long)]
    pub(crate) initrd: bool,

    /// What to run there [default: a shell]
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

pub(crate) fn run(_cli: &Cli, args: &SshArgs) -> Result<Exit, StepError> {
    let host = StateDir::open()?.host(&args.host)?;
    left_over::end(&host)?;
    let none = || {
        StepError::new(
            format!("no run of {} has installed a system", args.host),
            "only a run knows the key that the host must show",
            "landfall bootstrap HOST TARGET installs it.",
        )
        .exit(Exit::Usage)
    };
    // The initrd's key is on the machine with the installation, and waits before the boot is over.
    let came_to = if args.initrd { StepId::Install } else { StepId::Reboot };
    let dir = last_that_did(&host, came_to)?.ok_or_else(none)?;
    let lines = journal::read(&dir.journal())?.lines;
    let identity = journal::identity(&lines).ok_or_else(none)?;
    let keys = RunKeys::in_dir(dir.path());
    let key = match args.initrd {
        true => keys.initrd_public().ok_or_else(|| no_initrd(&args.host))?,
        false => keys.public().ok_or_else(none)?,
    };
    // Where it answered last; the installer may have had another address.
    let last = journal::output::<RebootOutput>(&lines)?.and_then(|reboot| reboot.address);
    let address = args.installed_address.as_ref().or(last.as_ref()).unwrap_or(&identity.target);
    let mut endpoint: Endpoint = address.parse().map_err(StepError::from)?;
    endpoint.port = args.port.or(endpoint.port);
    endpoint.identity_file.clone_from(&args.identity_file);
    endpoint.options.clone_from(&args.ssh_option);
    if args.initrd {
        endpoint = endpoint.with_user("root");
        // It goes away without a word as soon as the disk is open.
        endpoint.options.extend(["ServerAliveInterval=5", "ServerAliveCountMax=3"].map(Into::into));
    } else if let Some(user) = journal::output::<LoginOutput>(&lines)?.and_then(|login| login.user)
    {
        endpoint = endpoint.with_user(user);
    }
    let words: Vec<&str> = args.command.iter().map(String::as_str).collect();
    // One word is a command line, as with ssh itself; several are an argv.
    let command = match words.as_slice() {
        [line] => vec!["sh", "-c", *line],
        _ => words,
    };
    // What asks for the passphrase does so on a terminal.
    Err(ssh::interactive(&endpoint, &key, dir.path(), &command, args.initrd)?.exec().into())
}

fn no_initrd(host: &str) -> StepError {
    StepError::new(
        format!("the initrd of {host} has no key of its own"),
        "its configuration has no boot.initrd.network.ssh.hostKeys",
        "Without it the passphrase is typed on the console.",
    )
    .exit(Exit::Usage)
}

/// The run whose system the machine has: a later one that has not come so far has changed
/// nothing of what answers. Without any, the latest.
fn last_that_did(host: &HostState, step: StepId) -> Result<Option<RunDir>, StepError> {
    let mut runs = host.runs()?;
    runs.sort_by_key(|run| std::cmp::Reverse(run.written()));
    let did = |run: &RunDir| {
        journal::read(&run.journal())
            .is_ok_and(|journal| journal::finished(&journal.lines, step).is_some())
    };
    match runs.into_iter().find(did) {
        Some(run) => Ok(Some(run)),
        None => Ok(host.latest()?),
    }
}
