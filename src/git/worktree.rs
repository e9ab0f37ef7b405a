//! Private working trees beside the user's own, for work that must not disturb it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{GitError, LOCAL, NO_HOOKS, Repo, git_in, reading, set, without_filters};

/// A second working tree, removed when it is dropped.
#[derive(Debug)]
pub struct Worktree {
    checkout: Repo,
    repo: Repo,
    path: PathBuf,
    _dir: TempDir,
}

impl Worktree {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tree as a repository whose commits run the hooks of the checkout.
    pub fn repo(&self) -> &Repo {
        &self.repo
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        self.checkout.remove_worktree(&self.path);
    }
}

/// Folders of working trees begin like this, followed by the process that uses them.
const PREFIX: &str = "tree-";

impl Repo {
    /// A second working tree of the commit `rev`, in a private folder below `base`, which
    /// is used by one process at a time: what another one left there is removed first.
    pub fn worktree(&self, rev: &str, base: &Path) -> Result<Worktree, GitError> {
        let io = |source| GitError::Io { doing: "making a private folder", source };
        let ours = format!("{PREFIX}{}-", std::process::id());
        for left in std::fs::read_dir(base).map_err(io)?.flatten() {
            let name = left.file_name().to_string_lossy().into_owned();
            if name.starts_with(PREFIX) && !name.starts_with(&ours) {
                remove_left_over(&left.path());
            }
        }
        let private = std::fs::Permissions::from_mode(0o700);
        let builder = &mut tempfile::Builder::new();
        let dir = builder.prefix(&ours).permissions(private).tempdir_in(base).map_err(io)?;
        // Beside nothing else, and under the repository's name: flakes show it.
        let name = self.root.file_name().unwrap_or_else(|| "tree".as_ref());
        let path = dir.path().join(name);
        let mut instead = without_filters(&self.root)?;
        let add = instead.iter().fold(set(self.git(&[]), NO_HOOKS), set);
        let add = add.args(["worktree", "add", "--quiet", "--detach"]).arg(&path).arg(rev);
        add.run().map_err(GitError::local)?;
        instead.push(format!("core.hooksPath={}", self.hooks()?));
        let repo = Repo { root: path.clone(), instead };
        Ok(Worktree { checkout: self.clone(), repo, path, _dir: dir })
    }

    /// Where the hooks of the checkout lie, seen from anywhere.
    fn hooks(&self) -> Result<String, GitError> {
        let hooks = ["rev-parse", "--path-format=absolute", "--git-path", "hooks"];
        Ok(self.read(&hooks)?)
    }

    fn remove_worktree(&self, path: &Path) {
        // What is left in git's list is pruned by git itself some time.
        let _ = self.git(&["worktree", "remove", "--force", "--force"]).arg(path).run();
    }
}

/// Removes a folder of working trees of a killed process, of whatever repository.
fn remove_left_over(folder: &Path) {
    for tree in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let tree = tree.path();
        let common = ["rev-parse", "--path-format=absolute", "--git-common-dir"];
        if let Ok(common) = git_in(&tree).args(common).deadline(LOCAL).read() {
            let remove = ["worktree", "remove", "--force", "--force"];
            let _ = git_in(Path::new(&common)).args(remove).arg(&tree).deadline(LOCAL).run();
        }
    }
    let _ = std::fs::remove_dir_all(folder);
}

/// Writes the last commit of the repository around `dir` to the new folder `to`, without
/// touching the repository's own index.
pub(crate) fn export_head(dir: &Path, to: &Path) -> Result<(), GitError> {
    std::fs::create_dir_all(to)
        .map_err(|source| GitError::Io { doing: "making a folder", source })?;
    let index = to.with_extension("index");
    let git = |args: &[&str]| reading(dir).map(|git| git.args(args).env("GIT_INDEX_FILE", &index));
    git(&["read-tree", "HEAD"])?.run()?;
    git(&["checkout-index", "--all"])?.arg(format!("--prefix={}/", to.display())).run()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_commit_is_exported() {
        let repo = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let author = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
            git_in(repo.path()).args(author).args(args).run().unwrap()
        };
        git(&["init", "-q"]);
        std::fs::write(repo.path().join("tracked"), "encrypted").unwrap();
        git(&["add", "tracked"]);
        git(&["commit", "-qm", "first"]);
        std::fs::write(repo.path().join("tracked"), "decrypted").unwrap();
        std::fs::write(repo.path().join("staged"), "b").unwrap();
        git(&["add", "staged"]);
        let copy = tempfile::tempdir().unwrap();
        let to = copy.path().join("config");
        export_head(repo.path(), &to).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("tracked")).unwrap(), "encrypted");
        assert!(!to.join("staged").exists());
        assert!(git(&["status", "--porcelain"]).text().contains("A  staged"));
    }
}
