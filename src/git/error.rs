//! What git says when it refuses, told apart.

use std::path::PathBuf;

use crate::error::{Advice, Exit};
use crate::exec::ExecError;

/// Why git did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("git is not installed on this machine")]
    Missing,
    #[error("{} is in no git repository", dir.display())]
    NoRepository { dir: PathBuf },
    #[error("{} is not in the repository {}", path.display(), root.display())]
    Outside { path: PathBuf, root: PathBuf },
    #[error("git does not know who commits\n{why}")]
    Identity { why: String },
    #[error("nothing changed in {paths}, so there is nothing to commit")]
    NothingToCommit { paths: String },
    #[error("{} is changed by the filter {filter} when it is committed", path.display())]
    Filtered { path: PathBuf, filter: String },
    #[error("the commit was not made\n{why}")]
    Commit { why: String },
    #[error("the commit could not be signed\n{why}")]
    Signing { why: String },
    #[error("a hook or the signing of commits wants a terminal, and git has none here\n{why}")]
    WantsTerminal { why: String },
    #[error("another git works in this repository, or one that was killed left its lock\n{why}")]
    Locked { why: String },
    #[error("the disk has no room for git\n{why}")]
    Full { why: String },
    #[error("{remote} has commits on {branch} that are not here")]
    Behind { remote: String, branch: String },
    #[error("{remote} declined the push to {branch}\n{message}")]
    Declined { remote: String, branch: String, message: String },
    #[error("{remote} does not let you in\n{why}")]
    Auth { remote: String, why: String },
    #[error("the host key of {remote} could not be verified\n{why}")]
    HostKey { remote: String, why: String },
    #[error("{remote} cannot be reached\n{why}")]
    Unreachable { remote: String, why: String },
    #[error("{remote} is no git repository that you may read\n{why}")]
    NoSuchRepository { remote: String, why: String },
    #[error("{doing} failed: {source}")]
    Io { doing: &'static str, source: std::io::Error },
    #[error(transparent)]
    Exec(#[from] ExecError),
}

impl GitError {
    /// Sorts the failure of a command that talks to `remote`. Push reports come on
    /// standard output, in `--porcelain` form.
    pub(super) fn remote(remote: &str, branch: &str, stdout: &str, error: ExecError) -> Self {
        let (remote, branch) = (remote.to_owned(), branch.to_owned());
        if error.is_missing_program() {
            return Self::Missing;
        }
        let why = error.stderr().trim().to_owned();
        let all = format!("{stdout}\n{why}");
        let said = |words: &[&str]| words.iter().any(|word| all.contains(word));
        // Two pushes at the same moment: the other one holds the branch.
        let race = said(&["cannot lock ref", "failed to update ref", "incorrect old value"]);
        if said(&["[remote rejected]"]) && !race {
            let message = refusal(stdout, &why);
            Self::Declined { remote, branch, message }
        } else if race
            || said(&["(fetch first)", "(non-fast-forward)", "(stale info)", "[rejected]"])
        {
            Self::Behind { remote, branch }
        } else if said(&["Host key verification failed", "No ED25519 host key is known"]) {
            Self::HostKey { remote, why }
        } else if said(&[
            "Permission denied",
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "Permission to ",
            "returned error: 403",
            "Write access to repository not granted",
        ]) {
            Self::Auth { remote, why }
        } else if said(&[
            "does not appear to be a git repository",
            "epository not found",
            "does not exist",
            "No such remote",
        ]) {
            Self::NoSuchRepository { remote, why }
        } else if said(&[
            "Could not resolve host",
            "Connection refused",
            "Connection timed out",
            "Connection closed",
            "No route to host",
            "Network is unreachable",
            "Could not read from remote repository",
            "unable to access",
        ]) || matches!(error, ExecError::Deadline { .. })
        {
            Self::Unreachable { remote, why }
        } else {
            Self::Exec(error)
        }
    }

    /// Sorts the failure of a command that writes on this machine.
    pub(super) fn local(error: ExecError) -> Self {
        let why = error.stderr().trim().to_owned();
        Self::of_machine(&why).unwrap_or(Self::Exec(error))
    }

    /// What may keep every command from writing.
    fn of_machine(why: &str) -> Option<Self> {
        let said = |words: &[&str]| words.iter().any(|word| why.contains(word));
        let why = why.to_owned();
        // A checkout on a full disk does not tell the reason; it could make the file before.
        if said(&["No space left on device", "Disk quota exceeded", "unable to write file"]) {
            Some(Self::Full { why })
        } else if said(&[".lock': File exists", "Another git process seems to be running"]) {
            Some(Self::Locked { why })
        } else {
            None
        }
    }

    pub(super) fn commit(paths: &str, stdout: &str, error: ExecError) -> Self {
        let why = format!("{stdout}\n{}", error.stderr()).trim().to_owned();
        let said = |words: &[&str]| words.iter().any(|word| why.contains(word));
        if matches!(error, ExecError::Deadline { .. }) {
            // Nothing else in a commit takes so long.
            Self::WantsTerminal { why: format!("{error}\n{why}").trim().to_owned() }
        } else if !matches!(error, ExecError::Failed { .. }) {
            Self::Exec(error)
        } else if let Some(error) = Self::of_machine(&why) {
            error
        } else if said(&TERMINAL) {
            Self::WantsTerminal { why }
        } else if said(&SIGNING) {
            Self::Signing { why }
        } else if said(&["Please tell me who you are", "unable to auto-detect email"]) {
            Self::Identity { why }
        } else if said(&["nothing to commit", "nothing added to commit", "no changes added"]) {
            Self::NothingToCommit { paths: paths.to_owned() }
        } else {
            Self::Commit { why }
        }
    }
}

/// What programs say that find no terminal.
const TERMINAL: [&str; 6] = [
    "/dev/tty",
    "Inappropriate ioctl for device",
    "not a tty",
    "not a terminal",
    "cannot open terminal",
    "No pinentry",
];
/// What git, gpg and ssh-keygen say of a signature that was not made.
const SIGNING: [&str; 6] = [
    "failed to sign the data",
    "gpg failed to sign",
    "failed to write commit object",
    "Couldn't load public key",
    "Couldn't find key in agent",
    "user.signingKey needs to be set",
];

/// What the hook said, and the reason that git gives in brackets.
fn refusal(stdout: &str, stderr: &str) -> String {
    let said = stderr.lines().filter_map(|line| line.strip_prefix("remote:")).map(str::trim);
    let reason = stdout.lines().filter_map(|line| line.split_once("[remote rejected] "));
    said.chain(reason.map(|(_, reason)| reason.trim()))
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

impl Advice for GitError {
    fn hint(&self) -> String {
        match self {
            Self::Missing => "Install git and run the same command again.".into(),
            Self::NoRepository { .. } => {
                "Make it one (git init, git add, git commit), or name another folder with -C."
                    .into()
            }
            Self::Outside { .. } => "Name a path inside of the repository.".into(),
            Self::Identity { .. } => {
                "git config --global user.name \"…\" and git config --global user.email \"…\"."
                    .into()
            }
            Self::NothingToCommit { .. } => "See git status.".into(),
            Self::Filtered { .. } => "landfall commits files as they are, and would show what the \
                 filter hides: take the path out of .gitattributes, or commit it by hand."
                .into(),
            Self::Signing { .. } => {
                "Unlock the signing key (a commit by hand does it), or turn signing off for this \
                 repository: git config commit.gpgSign false. Then run the same command again."
                    .into()
            }
            Self::WantsTerminal { .. } => {
                "Unlock the signing key first, or let the hook do without questions; then run the \
                 same command again."
                    .into()
            }
            Self::Locked { .. } => {
                "Wait until the other git ends. When none runs, remove the lock that is named \
                 above, then run the same command again."
                    .into()
            }
            Self::Full { .. } => "Make room on that disk, then run the same command again.".into(),
            Self::Commit { .. } => {
                "A hook or the signing of commits may have refused it: mend that (unlock the \
                 signing key), then run the same command again."
                    .into()
            }
            Self::Behind { remote, branch } => {
                format!("git pull --rebase {remote} {branch}, then run the same command again.")
            }
            Self::Declined { .. } => "A rule or hook of the remote does not take it: satisfy it, \
                 then run the same command again."
                .into(),
            Self::Auth { .. } => {
                "Load your key (ssh-add) or log in to the forge, and see that you may push there; \
                 then run the same command again. --no-push goes on without."
                    .into()
            }
            Self::HostKey { .. } => {
                "Connect to the forge once by yourself (ssh -T git@FORGE) and compare its key \
                 with the published one; then run the same command again."
                    .into()
            }
            Self::Unreachable { .. } => {
                "Check the network, then run the same command again. --no-push goes on without."
                    .into()
            }
            Self::NoSuchRepository { .. } => "See git remote -v for its address.".into(),
            Self::Io { .. } => "Check the folder's permissions and the space on its disk.".into(),
            Self::Exec(error) => error.hint(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Missing | Self::NoRepository { .. } | Self::Outside { .. } => Exit::Usage,
            Self::Identity { .. } => Exit::Usage,
            Self::HostKey { .. } => Exit::Person,
            Self::Exec(error) => error.exit(),
            _ => Exit::Failed,
        }
    }
}
