//! Repository state, commits of named paths, pushes; all through the user's git,
//! with the user's configuration, and never with a prompt.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Advice, Exit};
use crate::exec::{Cmd, ExecError};

/// For commands that talk to a remote.
const NETWORK_DEADLINE: Duration = Duration::from_secs(180);

#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("{dir} is not a git repository")]
    NotARepository { dir: PathBuf },
    #[error("{dir} is not on a branch")]
    Detached { dir: PathBuf },
    #[error("{dir} has no commit yet")]
    NoCommit { dir: PathBuf },
    #[error("the branch {branch} of {dir} has no remote")]
    NoRemote { dir: PathBuf, branch: String },
    #[error("the remote of {dir} has commits that are not here\n{why}")]
    Behind { dir: PathBuf, why: String },
    #[error("the remote of {dir} refused the push\n{why}")]
    Declined { dir: PathBuf, why: String },
    #[error("the remote of {dir} cannot be used\n{why}")]
    Remote { dir: PathBuf, why: String },
    #[error("git failed in {dir}\n{source}")]
    Failed { dir: PathBuf, source: ExecError },
    #[error("a temporary file could not be made: {0}")]
    Temporary(std::io::Error),
}

impl Advice for GitError {
    fn hint(&self) -> String {
        match self {
            Self::NotARepository { .. } => "Run git init and commit, or correct the path.".into(),
            Self::Detached { .. } => "Check out a branch: git switch main".into(),
            Self::NoCommit { .. } => "Make a first commit.".into(),
            Self::NoRemote { branch, .. } => format!(
                "Set one: git push -u origin {branch}. --no-push leaves remotes alone."
            ),
            Self::Behind { .. } => "Take them over: git pull --ff-only, then run the same command again.".into(),
            Self::Declined { .. } => "Its hook says why. Mend that, then run the same command again; the commit is kept.".into(),
            Self::Remote { .. } => "Try git fetch there: is the network up, and do your credentials allow it? --no-push leaves remotes alone.".into(),
            Self::Failed { source, .. } => source.hint(),
            Self::Temporary(_) => "Make room in the folder for temporary files.".into(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::NotARepository { .. } | Self::Detached { .. } | Self::NoCommit { .. } | Self::NoRemote { .. } => Exit::Usage,
            Self::Failed { source, .. } => source.exit(),
            _ => Exit::Failed,
        }
    }
}

/// A repository with a working tree.
#[derive(Debug, Clone)]
pub struct Repo {
    root: PathBuf,
}

/// Where a branch is pushed to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Destination {
    remote: String,
    branch: String,
}

impl Repo {
    /// The repository that `dir` lies in.
    pub fn open(dir: &Path) -> Result<Self, GitError> {
        let not = || GitError::NotARepository { dir: dir.to_owned() };
        let root = git(dir).args(["rev-parse", "--show-toplevel"]).read().map_err(|error| {
            if error.is_missing_program() || error.is_interrupt() {
                GitError::Failed { dir: dir.to_owned(), source: error }
            } else {
                not()
            }
        })?;
        if root.is_empty() { Err(not()) } else { Ok(Self { root: root.into() }) }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The commit that is checked out, as 40 or 64 hexadecimal digits.
    pub fn head(&self) -> Result<String, GitError> {
        self.git(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])
            .read()
            .map_err(|_| GitError::NoCommit { dir: self.root.clone() })
    }

    pub fn branch(&self) -> Result<String, GitError> {
        self.git(&["symbolic-ref", "--quiet", "--short", "HEAD"])
            .read()
            .map_err(|_| GitError::Detached { dir: self.root.clone() })
    }

    /// The URL that the current branch is pushed to; none without a remote.
    pub fn remote_url(&self) -> Result<Option<String>, GitError> {
        let Some(remote) = self.remote()? else { return Ok(None) };
        let url = self.git(&["remote", "get-url", &remote]).read();
        Ok(Some(url.map_err(|source| self.failed(source))?))
    }

    /// The paths that differ from the last commit: changed, staged, deleted, and
    /// untracked ones that are not ignored.
    pub fn dirty(&self) -> Result<Vec<PathBuf>, GitError> {
        let args = ["status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames"];
        let output = self.git(&args).run().map_err(|source| self.failed(source))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.split('\0').filter_map(|entry| entry.get(3..)).map(PathBuf::from).collect())
    }

    /// Whether the last commit has `path`.
    pub fn is_tracked(&self, path: &Path) -> Result<bool, GitError> {
        let output = self
            .git(&["ls-tree", "--name-only", "HEAD", "--"])
            .arg(path)
            .output()
            .map_err(|source| self.failed(source))?;
        Ok(!output.stdout.is_empty())
    }

    /// Makes new files known to git, so that a flake sees them, without staging them.
    pub fn intent_to_add(&self, paths: &[PathBuf]) -> Result<(), GitError> {
        self.change(self.git(&["add", "--intent-to-add", "--"]).args(paths))
    }

    /// Commits `paths` as they are, and nothing else, whatever is staged.
    pub fn commit_paths(&self, paths: &[PathBuf], message: &str) -> Result<String, GitError> {
        // New files must be known before they can be named to commit.
        self.change(self.git(&["add", "--intent-to-add", "--"]).args(existing(&self.root, paths)))?;
        self.change(self.git(&["commit", "--quiet", "-m", message, "--only", "--"]).args(paths))?;
        self.head()
    }

    pub fn fetch(&self) -> Result<(), GitError> {
        let Some(remote) = self.remote()? else {
            return Err(self.no_remote()?);
        };
        self.remote_command(&["fetch", "--quiet", &remote]).map(|_| ())
    }

    /// How many commits the current branch is ahead of and behind where it is
    /// pushed to, as of the last fetch.
    pub fn ahead_behind(&self, branch: Option<&str>) -> Result<(usize, usize), GitError> {
        let to = self.destination(branch)?;
        let reference = format!("refs/remotes/{}/{}", to.remote, to.branch);
        let known = self.git(&["rev-parse", "--verify", "--quiet", &reference]).output();
        if !known.map_err(|source| self.failed(source))?.status.success() {
            return Ok((0, 0)); // the branch is new there
        }
        let range = format!("HEAD...{reference}");
        let counts = self
            .git(&["rev-list", "--left-right", "--count", &range])
            .read()
            .map_err(|source| self.failed(source))?;
        let mut numbers = counts.split_whitespace().map(|n| n.parse().unwrap_or(0));
        Ok((numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)))
    }

    /// Tries a push without carrying it out. The remote's hooks do not run.
    pub fn can_push(&self, branch: Option<&str>) -> Result<(), GitError> {
        self.push_with(branch, &["--dry-run"])
    }

    pub fn push(&self, branch: Option<&str>) -> Result<(), GitError> {
        self.push_with(branch, &[])
    }

    fn push_with(&self, branch: Option<&str>, options: &[&str]) -> Result<(), GitError> {
        let to = self.destination(branch)?;
        let refspec = format!("HEAD:refs/heads/{}", to.branch);
        let args = [&["push", "--quiet"], options, &[&to.remote, &refspec]].concat();
        self.remote_command(&args).map(|_| ())
    }

    /// Whether the tip of the branch in the remote is `revision`, or has it behind it.
    pub fn remote_has(&self, branch: Option<&str>, revision: &str) -> Result<bool, GitError> {
        let to = self.destination(branch)?;
        let reference = format!("refs/heads/{}", to.branch);
        let listed = self.remote_command(&["ls-remote", &to.remote, &reference])?;
        let Some(tip) = listed.split_whitespace().next() else { return Ok(false) };
        if tip == revision {
            return Ok(true);
        }
        // A tip that is not here cannot be looked behind.
        let behind = self.git(&["merge-base", "--is-ancestor", revision, tip]).output();
        Ok(behind.map_err(|source| self.failed(source))?.status.success())
    }

    /// The history of the current branch in one file, made in `dir`.
    pub fn bundle(&self, dir: &Path) -> Result<tempfile::NamedTempFile, GitError> {
        let file = tempfile::Builder::new()
            .prefix("bundle-")
            .tempfile_in(dir)
            .map_err(GitError::Temporary)?;
        let branch = self.branch()?;
        let bundle = self.git(&["bundle", "create", "--quiet"]).arg(file.path());
        self.change(bundle.args(["HEAD", &branch]))?;
        Ok(file)
    }

    /// The remote of the current branch: its upstream's, else the only one.
    fn remote(&self) -> Result<Option<String>, GitError> {
        let key = format!("branch.{}.remote", self.branch()?);
        let configured = self.git(&["config", "--get", &key]).output();
        let configured = configured.map_err(|source| self.failed(source))?.text();
        if !configured.is_empty() {
            return Ok(Some(configured));
        }
        let remotes = self.git(&["remote"]).read().map_err(|source| self.failed(source))?;
        let remotes: Vec<&str> = remotes.lines().collect();
        Ok(match remotes.as_slice() {
            [only] => Some((*only).to_owned()),
            several => several.iter().find(|name| **name == "origin").map(ToString::to_string),
        })
    }

    /// `branch` in the remote, else the upstream of the current branch, else the
    /// branch of the same name.
    fn destination(&self, branch: Option<&str>) -> Result<Destination, GitError> {
        let Some(remote) = self.remote()? else {
            return Err(self.no_remote()?);
        };
        if let Some(branch) = branch {
            return Ok(Destination { remote, branch: branch.to_owned() });
        }
        let current = self.branch()?;
        let merge = self.git(&["config", "--get", &format!("branch.{current}.merge")]).output();
        let merge = merge.map_err(|source| self.failed(source))?.text();
        let branch = merge.strip_prefix("refs/heads/").map_or(current, ToOwned::to_owned);
        Ok(Destination { remote, branch })
    }

    fn no_remote(&self) -> Result<GitError, GitError> {
        Ok(GitError::NoRemote { dir: self.root.clone(), branch: self.branch()? })
    }

    fn git(&self, args: &[&str]) -> Cmd {
        git(&self.root).args(args)
    }

    fn change(&self, cmd: Cmd) -> Result<(), GitError> {
        cmd.run().map(|_| ()).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: ExecError) -> GitError {
        GitError::Failed { dir: self.root.clone(), source }
    }

    fn remote_command(&self, args: &[&str]) -> Result<String, GitError> {
        without_questions(self.git(args))
            .deadline(NETWORK_DEADLINE)
            .read()
            .map_err(|error| classify(&self.root, error))
    }
}

/// Clones `url` to `to`; with `branch`, that one is checked out.
pub fn clone(url: &str, to: &Path, branch: Option<&str>) -> Result<(), GitError> {
    let mut cmd = without_questions(git(Path::new("."))).args(["clone", "--quiet"]);
    if let Some(branch) = branch {
        cmd = cmd.args(["--branch", branch]);
    }
    cmd.args(["--", url])
        .arg(to)
        .deadline(NETWORK_DEADLINE)
        .run()
        .map(|_| ())
        .map_err(|error| classify(Path::new(url), error))
}

/// Sorts what a remote said.
fn classify(dir: &Path, error: ExecError) -> GitError {
    if !matches!(error, ExecError::Failed { .. } | ExecError::Deadline { .. }) {
        return GitError::Failed { dir: dir.to_owned(), source: error };
    }
    let dir = dir.to_owned();
    let why = error.stderr().trim().to_owned();
    let said = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if said(&["hook declined", "pre-receive", "protected branch"]) {
        GitError::Declined { dir, why }
    } else if said(&["non-fast-forward", "fetch first", "(stale info)"]) {
        GitError::Behind { dir, why }
    } else if why.is_empty() {
        GitError::Failed { dir, source: error }
    } else {
        GitError::Remote { dir, why }
    }
}

/// git in `dir`, in English.
fn git(dir: &Path) -> Cmd {
    Cmd::new("git").arg("-C").arg(dir).env("LC_ALL", "C.UTF-8")
}

/// `cmd` with git and the ssh below it kept from asking, where nobody looks. An
/// ssh that the user chose for git is left alone.
pub fn without_questions(cmd: Cmd) -> Cmd {
    let cmd = cmd.env("GIT_TERMINAL_PROMPT", "0");
    let chosen = std::env::var_os("GIT_SSH_COMMAND").is_some()
        || Cmd::new("git").args(["config", "--get", "core.sshCommand"]).run().is_ok();
    if chosen { cmd } else { cmd.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes") }
}

fn existing(root: &Path, paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().filter(|path| root.join(path).symlink_metadata().is_ok()).cloned().collect()
}
