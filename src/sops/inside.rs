//! Where a path of a repository really lies, and a refusal of what leads out of it.
//!
//! Anybody who may push can push a link. What is read and written is the file that a
//! link leads to, and that must lie in the tree at hand: a link to somewhere else would
//! let a commit choose which files of this machine are changed. A link that means the
//! checkout, by an absolute path or by a way around, means the same place of a private
//! working tree of it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::git;

use crate::sops::change::repo::RepoError;

/// As many links in a row as Linux follows.
const MOST_LINKS: usize = 40;

/// The tree that paths must lie in.
#[derive(Debug)]
pub(crate) struct Inside {
    root: PathBuf,
}

/// What following a path came to.
enum Followed {
    Inside(PathBuf),
    Outside(PathBuf),
    Nowhere,
}

impl Inside {
    /// The working tree around `dir`, or `dir` itself outside of git.
    pub(crate) fn of(dir: &Path) -> Self {
        let real = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        let root = real.ancestors().find(|dir| dir.join(".git").exists());
        Self { root: root.map(Path::to_owned).unwrap_or(real) }
    }

    /// The place that `path` leads to, without links on the way; none where there is
    /// nothing. A place outside of the tree is refused.
    pub(crate) fn real(&self, path: &Path) -> Result<Option<PathBuf>, RepoError> {
        let leads_out = |to: PathBuf| Err(RepoError::LeadsOut { path: path.to_owned(), to });
        let direct = match path.canonicalize() {
            Ok(real) if self.has(&real) => return Ok(Some(real)),
            Ok(real) => Some(real),
            Err(_) => None,
        };
        let mut out = direct;
        if let Some(rest) = self.below_root(path) {
            let trees = self.other_trees();
            for tree in &trees {
                match self.follow(&tree.join(&rest), &trees) {
                    Followed::Inside(real) => return Ok(Some(real)),
                    Followed::Outside(to) => out = out.or(Some(to)),
                    Followed::Nowhere => {}
                }
            }
        }
        out.map_or(Ok(None), leads_out)
    }

    /// Whether a path without links is one of the tree; git's own folder is not.
    fn has(&self, real: &Path) -> bool {
        let below = real.strip_prefix(&self.root);
        below.is_ok_and(|below| !below.iter().any(|part| part == ".git"))
    }

    /// The place where a file is or would be made.
    pub(crate) fn real_or_new(&self, path: &Path) -> Result<PathBuf, RepoError> {
        if let Some(real) = self.real(path)? {
            return Ok(real);
        }
        if path.is_symlink() {
            let to = std::fs::read_link(path).unwrap_or_default();
            return Err(RepoError::LeadsOut { path: path.to_owned(), to });
        }
        match (path.parent(), path.file_name()) {
            (Some(dir), Some(name)) if !dir.as_os_str().is_empty() => {
                Ok(self.real_or_new(dir)?.join(name))
            }
            _ => Ok(self.root.join(path)),
        }
    }

    /// The path from the root of the tree, its own links left as they are.
    fn below_root(&self, path: &Path) -> Option<PathBuf> {
        let spelled = path.ancestors().find(|dir| {
            !dir.as_os_str().is_empty()
                && dir.canonicalize().is_ok_and(|real| real.starts_with(&self.root))
        })?;
        let real = spelled.canonicalize().ok()?;
        let rest = path.strip_prefix(spelled).ok()?;
        Some(real.strip_prefix(&self.root).ok()?.join(rest))
    }

    /// The other working trees of the repository, the checkout among them.
    fn other_trees(&self) -> Vec<PathBuf> {
        let list = ["worktree", "list", "--porcelain"];
        let Ok(list) = git::reading(&self.root).and_then(|git| git.args(list).run()) else {
            return Vec::new();
        };
        let text = String::from_utf8_lossy(&list.stdout);
        let trees = text.lines().filter_map(|line| line.strip_prefix("worktree "));
        let trees = trees.filter_map(|tree| Path::new(tree).canonicalize().ok());
        trees.filter(|tree| *tree != self.root).collect()
    }

    /// Follows a path of one of `trees` as if the tree at hand lay there.
    fn follow(&self, path: &Path, trees: &[PathBuf]) -> Followed {
        // The place in the tree at hand of a path in any of the trees.
        let here = |path: &Path| {
            let below = trees.iter().find_map(|tree| path.strip_prefix(tree).ok());
            below.map(|rest| self.root.join(rest))
        };
        let parts = |path: &Path| -> VecDeque<OsString> {
            path.components().map(|part| part.as_os_str().to_owned()).collect()
        };
        let mut left = parts(path);
        let mut at = PathBuf::new();
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            match Path::new(&part).components().next() {
                Some(Component::ParentDir) => {
                    at.pop();
                    continue;
                }
                Some(Component::RootDir) => {
                    at = PathBuf::from("/");
                    continue;
                }
                Some(Component::Normal(_)) => {}
                _ => continue,
            }
            let next = at.join(&part);
            let place = here(&next).unwrap_or_else(|| next.clone());
            match std::fs::read_link(&place) {
                Ok(target) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Followed::Nowhere;
                    }
                    let mut target = parts(&target);
                    target.extend(left);
                    left = target;
                }
                Err(_) => at = next,
            }
        }
        match here(&at) {
            Some(real) if real.exists() && self.has(&real) => Followed::Inside(real),
            Some(_) => Followed::Nowhere,
            None if self.has(&at) && at.exists() => Followed::Inside(at),
            None if at.exists() => Followed::Outside(at),
            None => Followed::Nowhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_inside_are_followed_and_links_out_refused() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let root = base.join("repo");
        std::fs::create_dir_all(root.join(".git")).unwrap();
        std::fs::create_dir_all(root.join("real")).unwrap();
        std::fs::write(root.join("real/a"), "").unwrap();
        std::fs::write(base.join("out"), "").unwrap();
        let link = |to: &str, from: &str| symlink(to, root.join(from)).unwrap();
        link("real", "folder");
        link("folder/../real/a", "chain");
        link("../repo/real/a", "around");
        link(root.join("real/a").to_str().unwrap(), "absolute");
        link("../out", "out");
        link("..", "above");
        link("nothing", "dangling");
        link("/nonexistent/x", "dangling-out");
        let inside = Inside::of(&root.join("real"));
        assert_eq!(inside.root, root);
        for path in ["real/a", "folder/a", "chain", "around", "absolute"] {
            let real = inside.real(&root.join(path)).unwrap();
            assert_eq!(real, Some(root.join("real/a")), "{path}");
        }
        for path in ["out", "above/out", "above"] {
            assert!(inside.real(&root.join(path)).is_err(), "{path}");
            assert!(inside.real_or_new(&root.join(path)).is_err(), "{path}");
        }
        assert_eq!(inside.real(&root.join("dangling")).unwrap(), None);
        for path in ["dangling", "dangling-out", "dangling-out/x", "above/new"] {
            assert!(inside.real_or_new(&root.join(path)).is_err(), "{path}");
        }
        let new = inside.real_or_new(&root.join("folder/sub/new")).unwrap();
        assert_eq!(new, root.join("real/sub/new"));
    }
}
