//! What a repository and its remotes have of one another: fetches, pushes, clones.

use std::path::Path;
use std::time::Duration;

use super::url::{RemoteUrl, Told};
use super::{GitError, NO_HOOKS, Repo, plain, set, succeed};
use crate::exec::Output;

/// What talks to a remote.
const REMOTE: Duration = Duration::from_secs(300);

/// How two commits differ: how many each has that the other has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AheadBehind {
    pub ahead: usize,
    pub behind: usize,
}

/// How one commit stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Even,
    /// It has all of the other's commits, and more.
    Ahead,
    /// The other has all of its commits, and this many more.
    Behind(usize),
    /// Each has commits that the other has not.
    Diverged(AheadBehind),
}

impl Repo {
    /// The commit that `branch` of `remote` has now, with all that it needs; none where
    /// there is no such branch.
    pub fn remote_tip(&self, remote: &str, branch: &str) -> Result<Option<String>, GitError> {
        let name = format!("refs/heads/{branch}");
        let listed = self.talk(&["ls-remote", "--", remote, &name], remote, branch)?.text();
        let Some((tip, _)) = listed.lines().next().and_then(|line| line.split_once('\t')) else {
            return Ok(None);
        };
        let commit = format!("{tip}^{{commit}}");
        if !self.git(&["cat-file", "-e", &commit]).output()?.status.success() {
            self.talk(&["fetch", "--quiet", "--", remote, &name], remote, branch)?;
        }
        Ok(Some(tip.to_owned()))
    }

    /// The branch that `remote` gives to whoever names none.
    pub fn remote_default(&self, remote: &str) -> Result<Option<String>, GitError> {
        let listed = self.talk(&["ls-remote", "--symref", "--", remote, "HEAD"], remote, "")?;
        let text = listed.text();
        let name = text.lines().find_map(|line| line.strip_prefix("ref: refs/heads/"));
        Ok(name.and_then(|line| line.split('\t').next()).map(ToOwned::to_owned))
    }

    /// Pushes HEAD to `branch` of `remote`; never by force.
    pub fn push(&self, remote: &str, branch: &str) -> Result<(), GitError> {
        let to = format!("HEAD:refs/heads/{branch}");
        self.talk(&["push", "--porcelain", "--", remote, &to], remote, branch).map(|_| ())
    }

    /// Tries to push `rev` without doing it. Hooks of the remote do not run.
    pub fn can_push(&self, rev: &str, remote: &str, branch: &str) -> Result<(), GitError> {
        let to = format!("{rev}:refs/heads/{branch}");
        let push = ["push", "--dry-run", "--no-verify", "--porcelain", "--", remote, &to];
        self.talk(&push, remote, branch).map(|_| ())
    }

    /// Whether `branch` of `remote` holds the commit `rev` now.
    pub fn remote_has(&self, remote: &str, branch: &str, rev: &str) -> Result<bool, GitError> {
        match self.remote_tip(remote, branch)? {
            Some(tip) => self.is_ancestor(rev, &tip),
            None => Ok(false),
        }
    }

    /// Whether the commit `old` is `new` or lies behind it.
    pub(crate) fn is_ancestor(&self, old: &str, new: &str) -> Result<bool, GitError> {
        Ok(self.git(&["merge-base", "--is-ancestor", old, new]).output()?.status.success())
    }

    /// How `one` stands to `other`.
    pub fn standing(&self, one: &str, other: &str) -> Result<Standing, GitError> {
        let range = format!("{one}...{other}");
        let counted = self.read(&["rev-list", "--left-right", "--count", &range])?;
        let mut counts = counted.split_ascii_whitespace().map_while(|count| count.parse().ok());
        let (ahead, behind) = (counts.next().unwrap_or(0), counts.next().unwrap_or(0));
        Ok(match (ahead, behind) {
            (0, 0) => Standing::Even,
            (_, 0) => Standing::Ahead,
            (0, behind) => Standing::Behind(behind),
            _ => Standing::Diverged(AheadBehind { ahead, behind }),
        })
    }

    /// The newest commit that `one` and `other` have in common; none when they have none.
    pub(crate) fn merge_base(&self, one: &str, other: &str) -> Result<Option<String>, GitError> {
        self.maybe(&["merge-base", one, other])
    }

    /// Brings the branch that is checked out to `rev`, which must be ahead of it. What
    /// lies in the working tree and is not committed is never touched.
    pub fn fast_forward(&self, rev: &str) -> Result<(), GitError> {
        let merge = ["merge", "--quiet", "--ff-only", "--no-overwrite-ignore", rev];
        let mut git = self.git(&[]);
        // Hooks that lie in the working tree would be those of the new commit.
        if self.config("core.hooksPath")?.is_some_and(|path| !path.starts_with(['/', '~'])) {
            git = set(git, NO_HOOKS);
        }
        git.args(merge).run().map_err(GitError::local)?;
        Ok(())
    }

    /// The address that `remote` is pushed to, without a login.
    pub fn remote_url(&self, remote: &str) -> Result<String, GitError> {
        Ok(self.full_url(remote, true)?.clean)
    }

    /// Clones what `remote` is pushed to into the new folder `to`.
    pub fn clone_remote(&self, remote: &str, to: &Path) -> Result<Self, GitError> {
        clone_from(&self.full_url(remote, true)?, to)
    }

    fn full_url(&self, remote: &str, push: bool) -> Result<RemoteUrl, GitError> {
        let direction: &[&str] = if push { &["--push"] } else { &[] };
        let url = self.git(&["remote", "get-url"]).args(direction).args(["--", remote]).read()?;
        Ok(RemoteUrl::parse(url.lines().next().unwrap_or_default()))
    }

    /// What lets git log in by the login of the address, where it has one, without showing
    /// it to the programs that git starts.
    fn login(&self, remote: &str, push: bool) -> Result<Option<Told>, GitError> {
        // An address in place of a name, or no such remote: git says what is wrong.
        let Some(url) = self.full_url(remote, push).ok().filter(RemoteUrl::has_login) else {
            return Ok(None);
        };
        let own = if push { self.config(&format!("remote.{remote}.pushurl"))? } else { None };
        let named = match own {
            Some(own) => Some(own),
            None => self.config(&format!("remote.{remote}.url"))?,
        };
        named.map(|named| url.known_as(&named)).transpose().map_err(in_memory)
    }

    fn talk(&self, args: &[&str], remote: &str, branch: &str) -> Result<Output, GitError> {
        let login = self.login(remote, args.first() == Some(&"push"))?;
        let cmd = self.git(args).deadline(REMOTE);
        let cmd = login.iter().fold(cmd, |cmd, login| login.to(cmd));
        succeed(cmd).map_err(|(stdout, error)| GitError::remote(remote, branch, &stdout, error))
    }
}

fn in_memory(source: std::io::Error) -> GitError {
    GitError::Io { doing: "handing a login to git", source }
}

/// What an address is called where everybody can read it.
const UNNAMED: &str = "landfall-remote:";

/// Clones `url` into the new folder `to`. No program sees the address but git itself.
pub fn clone(url: &str, to: &Path) -> Result<Repo, GitError> {
    clone_from(&RemoteUrl::parse(url), to)
}

fn clone_from(url: &RemoteUrl, to: &Path) -> Result<Repo, GitError> {
    let told = url.known_as(UNNAMED).map_err(in_memory)?;
    let cmd = plain().args(["clone", "--quiet", "--", UNNAMED]).arg(to);
    succeed(told.to(cmd).deadline(REMOTE))
        .map_err(|(stdout, error)| GitError::remote(&url.clean, "", &stdout, error))?;
    Repo::open(to)
}
