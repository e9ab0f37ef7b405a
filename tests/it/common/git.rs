//! Real git repositories for tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use landfall::git::Repo;
use tempfile::TempDir;

/// A repository with one commit on `main` that is pushed to a bare one beside it.
pub struct Forge {
    pub dir: TempDir,
    pub repo: Repo,
    pub bare: PathBuf,
}

impl Forge {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bare = dir.path().join("bare.git");
        git(dir.path(), &["init", "-q", "--bare", "-b", "main", "bare.git"]);
        git(dir.path(), &["init", "-q", "-b", "main", "work"]);
        let work = dir.path().join("work");
        identify(&work);
        fs::write(work.join("file"), "one\n").unwrap();
        git(&work, &["add", "."]);
        git(&work, &["commit", "-q", "-m", "first"]);
        git(&work, &["remote", "add", "origin", bare.to_str().unwrap()]);
        git(&work, &["push", "-q", "-u", "origin", "main"]);
        Self { repo: Repo::open(&work).unwrap(), dir, bare }
    }

    pub fn work(&self) -> &Path {
        self.repo.root()
    }

    /// Another person's commit on the remote.
    pub fn somebody_pushes(&self) {
        let other = self.dir.path().join("other");
        git(self.dir.path(), &["clone", "-q", self.bare.to_str().unwrap(), "other"]);
        identify(&other);
        fs::write(other.join("theirs"), "x\n").unwrap();
        git(&other, &["add", "."]);
        git(&other, &["commit", "-q", "-m", "theirs"]);
        git(&other, &["push", "-q"]);
    }

    /// Makes the remote decline every push with these words.
    pub fn decline(&self, words: &str) {
        let hook = self.bare.join("hooks/pre-receive");
        fs::write(&hook, format!("#!/bin/sh\necho '{words}' >&2\nexit 1\n")).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

pub fn identify(dir: &Path) {
    git(dir, &["config", "user.name", "A. Tester"]);
    git(dir, &["config", "user.email", "tester@example.org"]);
    git(dir, &["config", "commit.gpgsign", "false"]);
}

/// Runs git, which must succeed, and gives what it printed.
pub fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(dir).args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
