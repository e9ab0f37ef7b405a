//! Git repositories of the source: their state, commits of named paths, pushes.
//!
//! The journey shares the repositories with a person at work: a commit takes the
//! named paths and nothing else that is staged or changed, hooks and signing are
//! the user's, and no command ever waits for an answer. Where landfall only reads, no
//! program that a repository names runs, and in a private tree nothing of its commit does:
//! hooks are those of the checkout, filters are off.

mod error;
mod remote;
mod url;
mod worktree;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::GitError;
pub use remote::{AheadBehind, Standing, clone};
pub(crate) use worktree::{Worktree, export_head};

use crate::exec::{Cmd, ExecError, Output};

/// What happens on this machine.
const LOCAL: Duration = Duration::from_secs(120);

/// Keeps git, and the ssh that it starts, from asking questions on a terminal.
///
/// An askpass program that the user set up is left to do its work.
#[must_use]
pub(crate) fn without_questions(cmd: Cmd) -> Cmd {
    let cmd = cmd.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C.UTF-8").env("LANGUAGE", "");
    if std::env::var_os("SSH_ASKPASS").is_some() {
        return cmd;
    }
    cmd.env("SSH_ASKPASS", "false").env("SSH_ASKPASS_REQUIRE", "force")
}

/// A repository with a working tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    root: PathBuf,
    /// What holds in place of the configuration, as `name=value`: in a private tree.
    instead: Vec<String>,
}

/// What the current branch follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub remote: String,
    /// The branch's name on the remote.
    pub branch: String,
}

impl Repo {
    /// The repository that holds `dir`, which may be a folder below its root.
    pub fn open(dir: &Path) -> Result<Self, GitError> {
        let missing = || GitError::NoRepository { dir: dir.to_owned() };
        if !dir.is_dir() {
            return Err(missing());
        }
        match git_in(dir).args(["rev-parse", "--show-toplevel"]).deadline(LOCAL).read() {
            Ok(root) if !root.is_empty() => Ok(Self { root: root.into(), instead: Vec::new() }),
            Ok(_) => Err(missing()),
            Err(error) if error.stderr().contains("not a git repository") => Err(missing()),
            Err(error) if error.is_missing_program() => Err(GitError::Missing),
            Err(error) => Err(error.into()),
        }
    }

    /// The top of the working tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The commit that is checked out, as a full hash.
    pub fn head(&self) -> Result<String, GitError> {
        self.rev("HEAD")
    }

    /// The commit that `name` means, as a full hash.
    pub(crate) fn rev(&self, name: &str) -> Result<String, GitError> {
        let commit = format!("{name}^{{commit}}");
        Ok(self.read(&["rev-parse", "--verify", "--end-of-options", &commit])?)
    }

    /// The newest commit that brought `text` into `path` or took it out; none where none did.
    pub fn introduced(&self, text: &str, path: &Path) -> Result<Option<String>, GitError> {
        let path = self.relative(path)?;
        let found = format!("-S{text}");
        let log = self
            .git(&["log", "-1", "--no-textconv", "--format=%H", &found, "--"])
            .arg(path)
            .read()?;
        Ok((!log.is_empty()).then_some(log))
    }

    /// The commits that `new` has and `old` has not, newest first, with their messages.
    pub(crate) fn commits(&self, old: &str, new: &str) -> Result<Vec<(String, String)>, GitError> {
        let range = format!("{old}..{new}");
        let log = self.read(&["log", "-z", "--format=%H%n%B", &range, "--"])?;
        let commits = log.split('\0').filter_map(|entry| entry.split_once('\n'));
        Ok(commits.map(|(hash, message)| (hash.into(), message.into())).collect())
    }

    /// Gives `paths` the contents that they have in the last commit, in the working tree
    /// and for git; what is new goes.
    pub(crate) fn restore(&self, paths: &[&Path]) -> Result<(), GitError> {
        for path in self.all_relative(paths)? {
            if self.show("HEAD", &path)?.is_some() {
                let restore = ["restore", "--source=HEAD", "--staged", "--worktree", "--"];
                self.git(&restore).arg(&path).run()?;
            } else {
                self.git(&["rm", "--force", "--quiet", "--"]).arg(&path).run()?;
            }
        }
        Ok(())
    }

    /// The first line of a commit's message.
    pub(crate) fn subject(&self, rev: &str) -> Result<String, GitError> {
        Ok(self.read(&["log", "-1", "--format=%s", rev, "--"])?)
    }

    /// The current branch; none when HEAD is detached.
    pub fn branch(&self) -> Result<Option<String>, GitError> {
        self.maybe(&["symbolic-ref", "--quiet", "--short", "HEAD"])
    }

    /// Where the current branch is pulled from.
    pub fn upstream(&self) -> Result<Option<Upstream>, GitError> {
        let Some(branch) = self.branch()? else { return Ok(None) };
        let Some(remote) = self.config(&format!("branch.{branch}.remote"))? else {
            return Ok(None);
        };
        let merge = self.config(&format!("branch.{branch}.merge"))?.unwrap_or_default();
        let branch = merge.strip_prefix("refs/heads/").unwrap_or(&merge).to_owned();
        Ok((!branch.is_empty()).then_some(Upstream { remote, branch }))
    }

    /// The remote that the current branch belongs to: its upstream's, else `origin`,
    /// else the only one there is.
    pub fn remote(&self) -> Result<Option<String>, GitError> {
        if let Some(upstream) = self.upstream()? {
            return Ok(Some(upstream.remote));
        }
        let remotes = self.read(&["remote"])?;
        let remotes: Vec<&str> = remotes.lines().collect();
        Ok(match remotes[..] {
            [only] => Some(only.to_owned()),
            _ => remotes.iter().find(|name| **name == "origin").map(|name| (*name).to_owned()),
        })
    }

    /// A value of git's configuration.
    pub(crate) fn config(&self, name: &str) -> Result<Option<String>, GitError> {
        self.maybe(&["config", "--get", name])
    }

    /// Name and address under which commits are made, or the error that they would end in.
    pub fn committer(&self) -> Result<String, GitError> {
        let output = self.git(&["var", "GIT_COMMITTER_IDENT"]).run();
        Ok(output.map_err(|error| GitError::commit("", "", error))?.text())
    }

    /// What is changed, staged or new and not ignored; paths from the root.
    pub fn dirty(&self) -> Result<Vec<PathBuf>, GitError> {
        let status = ["status", "--porcelain=v1", "-z", "--untracked-files=all"];
        let output = reading(&self.root)?.args(status).deadline(LOCAL).run();
        let output = output.map_err(GitError::local)?;
        Ok(status_paths(&output.stdout))
    }

    /// The files that git tracks, those added with intent only included.
    pub fn tracked(&self) -> Result<Vec<PathBuf>, GitError> {
        Ok(paths(&self.git(&["ls-files", "-z"]).run()?.stdout))
    }

    /// The tracked files and the new ones that are not ignored, as they lie there now.
    pub fn files(&self) -> Result<Vec<PathBuf>, GitError> {
        let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let files: BTreeSet<PathBuf> = paths(&self.git(&list).run()?.stdout).into_iter().collect();
        Ok(files
            .into_iter()
            .filter(|file| self.root.join(file).symlink_metadata().is_ok())
            .collect())
    }

    /// What differs between two commits; paths from the root.
    pub fn changed(&self, old: &str, new: &str) -> Result<Vec<PathBuf>, GitError> {
        let diff = ["diff", "--no-ext-diff", "--no-textconv", "--no-renames", "--name-only"];
        let diff = [&diff[..], &["-z", old, new, "--"]].concat();
        Ok(paths(&self.git(&diff).run()?.stdout))
    }

    /// Whether git tracks `path`.
    pub fn is_tracked(&self, path: &Path) -> Result<bool, GitError> {
        let path = self.relative(path)?;
        let list = self.git(&["ls-files", "-z", "--"]).arg(&path).run()?;
        Ok(paths(&list.stdout).contains(&path))
    }

    /// Lets git, and so flakes, know of new files without staging their contents.
    pub fn intent_to_add(&self, paths: &[&Path]) -> Result<(), GitError> {
        let paths = self.all_relative(paths)?;
        self.git(&["add", "--intent-to-add", "--"]).args(&paths).run()?;
        Ok(())
    }

    /// The same for a file that git may have been told to ignore.
    pub(crate) fn intent_to_add_ignored(&self, path: &Path) -> Result<(), GitError> {
        let path = self.relative(path)?;
        self.git(&["add", "--intent-to-add", "--force", "--"]).arg(path).run()?;
        Ok(())
    }

    /// Commits the contents that `paths` have now, and nothing else, whatever else is
    /// staged. Gives the new commit.
    pub fn commit_paths(&self, paths: &[&Path], message: &str) -> Result<String, GitError> {
        let paths = self.all_relative(paths)?;
        self.refuse_filtered(&paths)?;
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let present: Vec<&PathBuf> =
            paths.iter().filter(|path| self.root.join(path).symlink_metadata().is_ok()).collect();
        if !present.is_empty() {
            let add = self.git(&["add", "--intent-to-add", "--"]).args(present).run();
            add.map_err(GitError::local)?;
        }
        let commit = self.git(&["commit", "--quiet", "--only", "-m", message, "--"]).args(&paths);
        succeed(commit)
            .map_err(|(stdout, error)| GitError::commit(&names.join(", "), &stdout, error))?;
        self.head()
    }

    /// In a private tree filters are off: what they would encrypt must not be committed.
    fn refuse_filtered(&self, paths: &[PathBuf]) -> Result<(), GitError> {
        if self.instead.is_empty() {
            return Ok(());
        }
        let asked = self.git(&["check-attr", "-z", "filter", "--"]).args(paths).run()?;
        let mut answers = asked.stdout.split(|byte| *byte == 0);
        while let (Some(name), Some(_), Some(filter)) =
            (answers.next(), answers.next(), answers.next())
        {
            let filter = String::from_utf8_lossy(filter).into_owned();
            let off = format!("filter.{filter}.required=false");
            if self.instead.contains(&off) {
                return Err(GitError::Filtered { path: path(name), filter });
            }
        }
        Ok(())
    }

    /// Commits the reversal of `rev`; gives the new commit.
    pub fn revert(&self, rev: &str) -> Result<String, GitError> {
        succeed(self.git(&["revert", "--no-edit", rev])).map_err(|(stdout, error)| {
            // Half a reversal in the working tree helps nobody.
            let _ = self.git(&["revert", "--abort"]).run();
            GitError::commit(rev, &stdout, error)
        })?;
        self.head()
    }

    /// The last commit that changed one of `paths`; the last commit where none did.
    pub(crate) fn last_change(&self, paths: &[&Path]) -> Result<String, GitError> {
        let paths = self.all_relative(paths)?;
        let log = self.git(&["log", "-1", "--format=%H", "--"]).args(&paths).read()?;
        if log.is_empty() { self.head() } else { Ok(log) }
    }

    /// The contents of `path` (from the root) in the commit `rev`; none when it is not there.
    pub fn show(&self, rev: &str, path: &Path) -> Result<Option<Vec<u8>>, GitError> {
        let path = self.relative(path)?;
        // As it is in the repository, whatever converts it for people; its name as it is.
        let mut object = std::ffi::OsString::from(format!("{rev}:"));
        object.push(&path);
        let output = self.git(&["cat-file", "blob"]).arg(object).output()?;
        Ok(output.status.success().then_some(output.stdout))
    }

    /// Writes `revs` and all that they need into one file, which can be cloned from.
    pub fn bundle(&self, file: &Path, revs: &[&str]) -> Result<(), GitError> {
        self.git(&["bundle", "create", "--quiet"]).arg(file).args(revs).run()?;
        Ok(())
    }

    fn git(&self, args: &[&str]) -> Cmd {
        let cmd = git_in(&self.root);
        self.instead.iter().fold(cmd, set).args(args).deadline(LOCAL)
    }

    fn read(&self, args: &[&str]) -> Result<String, ExecError> {
        self.git(args).read()
    }

    /// An answer, or none when git ends with a status that means there is none.
    fn maybe(&self, args: &[&str]) -> Result<Option<String>, GitError> {
        let output = self.git(args).output()?;
        Ok(output.status.success().then(|| output.text()).filter(|text| !text.is_empty()))
    }

    /// `path` as seen from the root, whether it is given so or absolute.
    fn relative(&self, path: &Path) -> Result<PathBuf, GitError> {
        if path.is_relative() {
            return Ok(path.to_owned());
        }
        let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        // Its folder is resolved, not the file: a link is committed as a link.
        let resolved = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => canonical(parent).join(name),
            _ => path.to_owned(),
        };
        let outside = || GitError::Outside { path: path.to_owned(), root: self.root.clone() };
        let relative = resolved.strip_prefix(canonical(&self.root)).map_err(|_| outside())?;
        Ok(relative.to_owned())
    }

    fn all_relative(&self, paths: &[&Path]) -> Result<Vec<PathBuf>, GitError> {
        paths.iter().map(|path| self.relative(path)).collect()
    }
}

/// A git that asks nothing and starts no program to look for changes or to show them.
fn plain() -> Cmd {
    // File names are names: `*` and `:` in them mean nothing.
    let cmd = Cmd::new("git").arg("--literal-pathspecs");
    without_questions(["core.fsmonitor=false", "diff.external="].iter().fold(cmd, set))
}

fn set(cmd: Cmd, setting: impl AsRef<OsStr>) -> Cmd {
    cmd.arg("-c").arg(setting)
}

/// Gives git in a folder: it asks nothing, file names are names, in which `*` and `:` mean
/// nothing, and it starts no program to look for changes or to show them.
pub(crate) fn git_in(dir: &Path) -> Cmd {
    plain().arg("-C").arg(dir)
}

/// Gives git in a folder for a command that a person has started: signing may ask for the
/// passphrase of a key.
pub(crate) fn asking_git_in(dir: &Path) -> Cmd {
    Cmd::new("git").arg("-C").arg(dir)
}

/// A git in `dir` that changes nothing, not even its own notes, and runs nothing that the
/// repository or its configuration names: hooks, filters, monitors.
pub(crate) fn reading(dir: &Path) -> Result<Cmd, ExecError> {
    let cmd = set(git_in(dir).env("GIT_OPTIONAL_LOCKS", "0"), NO_HOOKS);
    Ok(without_filters(dir)?.iter().fold(cmd, set))
}

const NO_HOOKS: &str = "core.hooksPath=/dev/null";

/// Settings that turn off the filters that are configured for `dir`.
fn without_filters(dir: &Path) -> Result<Vec<String>, ExecError> {
    let list = ["config", "--null", "--name-only", "--get-regexp", r"^filter\."];
    let listed = git_in(dir).args(list).deadline(LOCAL).output()?;
    let mut settings = BTreeSet::new();
    for name in String::from_utf8_lossy(&listed.stdout).split('\0') {
        let Some((filter, _)) = name.rsplit_once('.') else { continue };
        settings.extend(["clean", "smudge", "process"].map(|key| format!("{filter}.{key}=")));
        settings.insert(format!("{filter}.required=false"));
    }
    Ok(settings.into_iter().collect())
}

/// Runs to the end; a failure comes with what was printed, where git explains itself.
fn succeed(cmd: Cmd) -> Result<Output, (String, ExecError)> {
    let command = cmd.name();
    let output = cmd.output().map_err(|error| (String::new(), error))?;
    if output.status.success() {
        return Ok(output);
    }
    let text = output.text();
    let status = output.status.to_string();
    let code = output.status.code();
    Err((text, ExecError::Failed { command, status, code, stderr: output.stderr }))
}

/// Reads names that end with a zero byte, as `-z` has them, whatever bytes they are of.
pub(crate) fn paths(list: &[u8]) -> Vec<PathBuf> {
    list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(path).collect()
}

fn path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// Reads `git status --porcelain=v1 -z`: two letters, a space, the path; after a
/// renaming or copy the old path follows as an entry of its own.
fn status_paths(status: &[u8]) -> Vec<PathBuf> {
    let mut entries = status.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    let mut found = BTreeSet::new();
    while let Some(entry) = entries.next() {
        let (Some(state), Some(name)) = (entry.get(..2), entry.get(3..)) else { continue };
        found.insert(path(name));
        if state.contains(&b'R')
            && let Some(old) = entries.next()
        {
            found.insert(path(old));
        } else if state.contains(&b'C') {
            entries.next();
        }
    }
    found.into_iter().collect()
}

/// Shortens a revision to what people quote.
pub(crate) fn short(revision: &str) -> &str {
    revision.get(..8).unwrap_or(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lists_both_ends_of_a_renaming() {
        let status = b" M a b\0?? new\nline\0R  to\0from\0A  x\0";
        let wanted: Vec<PathBuf> =
            ["a b", "from", "new\nline", "to", "x"].map(PathBuf::from).into();
        assert_eq!(status_paths(status), wanted);
        assert_eq!(status_paths(b"X"), Vec::<PathBuf>::new());
    }
}
