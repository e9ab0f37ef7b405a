//! The files of a secrets repo: which there are, which are encrypted, which have
//! changes that nobody committed yet.

use std::path::{Path, PathBuf};

use super::format::Format;
use crate::error::{Advice, Exit};
use crate::exec::{Cmd, ExecError};

#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    #[error(transparent)]
    Git(#[from] ExecError),
    #[error("{} cannot be listed: {source}", .dir.display())]
    List { dir: PathBuf, source: std::io::Error },
    #[error("uncommitted changes are in the way: {}", .0.join(", "))]
    Dirty(Vec<String>),
}

impl Advice for RepoError {
    fn hint(&self) -> String {
        match self {
            Self::Git(error) => error.hint(),
            Self::List { .. } => {
                "Make the folder readable, then run the same command again.".into()
            }
            Self::Dirty(_) => "Commit or stash them first, or pass --allow-dirty.".into(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Dirty(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

fn git_root(dir: &Path) -> Option<PathBuf> {
    dir.ancestors().find(|dir| dir.join(".git").exists()).map(Path::to_owned)
}

/// All files below `dir`, relative to it: those that git tracks, or every one outside of git.
pub fn files_below(repo_dir: &Path, dir: &Path) -> Result<Vec<PathBuf>, RepoError> {
    if git_root(repo_dir).is_some() {
        let listed = Cmd::new("git")
            .arg("-C")
            .arg(dir)
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .run()?;
        let mut files: Vec<PathBuf> = listed
            .stdout
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty())
            .map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned()))
            .filter(|file| dir.join(file).is_file())
            .collect();
        files.sort();
        files.dedup();
        return Ok(files);
    }
    let mut files = Vec::new();
    walk(dir, Path::new(""), &mut files)
        .map_err(|source| RepoError::List { dir: dir.into(), source })?;
    files.sort();
    Ok(files)
}

fn walk(dir: &Path, below: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if entry.file_name() != ".git" {
                walk(dir, &path, files)?;
            }
        } else if dir.join(&path).is_file() {
            files.push(path);
        }
    }
    Ok(())
}

/// The file in a checkout that nix knows below a source in its store.
pub fn in_checkout(store_path: &Path, checkout: &Path) -> Option<PathBuf> {
    let below = store_path.strip_prefix("/nix/store").ok()?;
    let relative: PathBuf = below.components().skip(1).collect();
    let path = checkout.join(&relative);
    (!relative.as_os_str().is_empty() && path.is_file()).then_some(path)
}

/// A cheap look for sops' section, before anything is parsed.
pub fn looks_encrypted(text: &str, format: Format) -> bool {
    match format {
        Format::Yaml => {
            text.starts_with("sops:") || text.contains("\nsops:") || text.contains("\"sops\":")
        }
        Format::Json | Format::Binary => text.contains("\"sops\""),
        Format::Dotenv => text.contains("sops_mac="),
        Format::Ini => text.contains("[sops]"),
    }
}

/// Refuses when git knows of uncommitted changes to one of these files.
///
/// Links are followed: what they lead to is what will be written.
pub fn check_clean<'p>(
    repo_dir: &Path,
    paths: impl Iterator<Item = &'p Path>,
) -> Result<(), RepoError> {
    let Some(root) = repo_dir.canonicalize().ok().and_then(|dir| git_root(&dir)) else {
        return Ok(());
    };
    let real = paths.filter_map(|path| path.canonicalize().ok());
    let ours: Vec<PathBuf> = real.filter(|path| path.starts_with(&root)).collect();
    if ours.is_empty() {
        return Ok(());
    }
    let status = Cmd::new("git").arg("-C").arg(&root).args(["status", "--porcelain", "-z", "--"]);
    let dirty: Vec<String> = status
        .args(ours)
        .run()?
        .stdout
        .split(|&byte| byte == 0)
        .filter(|entry| entry.len() > 3 && !entry.starts_with(b"??"))
        .map(|entry| String::from_utf8_lossy(&entry[3..]).into_owned())
        .collect();
    if dirty.is_empty() { Ok(()) } else { Err(RepoError::Dirty(dirty)) }
}
