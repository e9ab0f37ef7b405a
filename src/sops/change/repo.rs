//! The files of a secrets repo: which there are, which are encrypted, which have
//! changes that nobody committed yet.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::transaction::is_left_over;
use super::unfinished::Intention;
use crate::error::{Advice, Exit};
use crate::exec::ExecError;
use crate::git;
use crate::sops::inside::Inside;

#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    #[error(transparent)]
    Git(#[from] ExecError),
    #[error("{} cannot be listed: {source}", .dir.display())]
    List { dir: PathBuf, source: std::io::Error },
    #[error("uncommitted changes are in the way: {}", .0.join(", "))]
    Dirty(Vec<String>),
    #[error("{} leads out of the repository, to {}", .path.display(), .to.display())]
    LeadsOut { path: PathBuf, to: PathBuf },
}

impl Advice for RepoError {
    fn hint(&self) -> String {
        match self {
            Self::Git(error) => error.hint(),
            Self::List { .. } => {
                "Make the folder readable, then run the same command again.".into()
            }
            Self::LeadsOut { .. } => {
                "What lies elsewhere is never changed for a link. Look at who made it (git log), \
                 and take the link out of the repository."
                    .into()
            }
            Self::Dirty(_) => "Commit or stash them first, or pass --allow-dirty.".into(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Dirty(_) | Self::LeadsOut { .. } => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

fn git_root(dir: &Path) -> Option<PathBuf> {
    dir.ancestors().find(|dir| dir.join(".git").exists()).map(Path::to_owned)
}

/// git's own folder for the checkout around `dir`: `.git`, or what it points to.
pub(crate) fn git_dir(dir: &Path) -> Option<PathBuf> {
    let root = git_root(&dir.canonicalize().ok()?)?;
    let git = root.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    // Worktrees and submodules have a file there.
    let pointer = std::fs::read_to_string(&git).ok()?;
    let path = root.join(pointer.strip_prefix("gitdir:")?.trim());
    path.is_dir().then_some(path)
}

/// The names of all files and links below `dir`, relative to it: those that git tracks, or every one outside of git.
///
/// What an interrupted run left over is not among them.
pub fn files_below(repo_dir: &Path, dir: &Path) -> Result<Vec<PathBuf>, RepoError> {
    if git_root(repo_dir).is_some() {
        let listed = git::reading(dir)?
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .run()?;
        let mut files: Vec<PathBuf> = listed
            .stdout
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty())
            .map(|name| PathBuf::from(OsStr::from_bytes(name)))
            .filter(|file| is_listed(&dir.join(file)))
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

/// Files, and links to whatever: an absolute one may mean another working tree.
fn is_listed(path: &Path) -> bool {
    (path.is_symlink() || path.is_file()) && !is_left_over(path)
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
        } else if is_listed(&dir.join(&path)) {
            files.push(path);
        }
    }
    Ok(())
}

/// Why a path of the configuration leads to no file of a checkout.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unmapped {
    #[error("{} is not in {}", .source_path.display(), .checkout.display())]
    Elsewhere { source_path: PathBuf, checkout: PathBuf },
    #[error("{} could be any of {}", .source_path.display(), list(.found))]
    Several { source_path: PathBuf, found: Vec<PathBuf> },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl Advice for Unmapped {
    fn hint(&self) -> String {
        match self {
            Self::Elsewhere { .. } => {
                "Set `secrets` in landfall.toml to the checkout that holds it.".into()
            }
            Self::Several { .. } => {
                "Write sopsFile as a path of the flake: ./FOLDER/FILE, without ${…}.".into()
            }
        }
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// The file of a checkout behind a path that nix has in its store: below the source of
/// the whole flake, or below a folder or file that was copied by itself, as
/// `"${./folder}/file"` does.
pub(crate) fn in_checkout(source_path: &Path, checkout: &Path) -> Result<PathBuf, Unmapped> {
    let elsewhere =
        || Unmapped::Elsewhere { source_path: source_path.into(), checkout: checkout.into() };
    if source_path.starts_with(checkout) && source_path.is_file() {
        return Ok(source_path.to_owned());
    }
    let below = source_path.strip_prefix("/nix/store").map_err(|_| elsewhere())?;
    let mut parts = below.components();
    let copied = parts.next().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let copied = copied.unwrap_or_default();
    let name = copied.split_once('-').map_or("", |(_, name)| name);
    let rest = parts.as_path();
    let whole = in_tree(checkout.join(rest), checkout);
    let of_whole = !rest.as_os_str().is_empty() && whole.is_file();
    if of_whole && name == "source" {
        return Ok(whole);
    }
    let files = files_below(checkout, checkout).unwrap_or_default();
    let tail = Path::new(name).join(rest);
    let is_it = |file: &PathBuf| file.ends_with(&tail) && checkout.join(file).is_file();
    let mut found: Vec<PathBuf> = files.into_iter().filter(is_it).collect();
    if found.len() > 1
        && let Ok(wanted) = std::fs::read(source_path)
    {
        found.retain(|file| std::fs::read(checkout.join(file)).is_ok_and(|text| text == wanted));
    }
    match found.as_slice() {
        [one] => Ok(checkout.join(one)),
        [] if of_whole => Ok(whole),
        [] => Err(elsewhere()),
        _ => Err(Unmapped::Several { source_path: source_path.into(), found }),
    }
}

/// The place of a path: where a link means another working tree, it is the same place here.
/// One that leads out stays as it is, to be refused by its name.
fn in_tree(path: PathBuf, checkout: &Path) -> PathBuf {
    let real = Inside::of(checkout).real(&path).ok().flatten();
    let root = checkout.canonicalize().unwrap_or_default();
    match (path.canonicalize(), real) {
        (Ok(direct), _) if direct.starts_with(&root) => path,
        (_, Some(real)) => real,
        _ => path,
    }
}

/// Refuses when git knows of uncommitted changes to one of these files.
///
/// Links are followed: what they lead to is what will be written.
pub(crate) fn check_clean<'p>(
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
    let intention = Intention::of(repo_dir);
    // What an interrupted run of ours wrote is nobody else's work.
    let own = |path: &str| std::fs::read(root.join(path)).is_ok_and(|text| intention.meant(&text));
    let status = git::reading(&root)?.args(["status", "--porcelain", "-z", "--"]);
    let dirty: Vec<String> = status
        .args(ours)
        .run()?
        .stdout
        .split(|&byte| byte == 0)
        .filter(|entry| entry.len() > 3 && !entry.starts_with(b"??"))
        .map(|entry| String::from_utf8_lossy(&entry[3..]).into_owned())
        .filter(|path| !own(path))
        .collect();
    if dirty.is_empty() { Ok(()) } else { Err(RepoError::Dirty(dirty)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_paths_lead_to_the_checkout() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a.yaml", "secrets/a.yaml", "hosts/x/secrets/b.yaml", "hosts/x/own.yaml"] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        let hash = "0123456789abcdfghijklmnpqrsvwxyz";
        for (store, wanted) in [
            ("source/secrets/a.yaml", Some("secrets/a.yaml")),
            ("source/a.yaml", Some("a.yaml")),
            // "${./secrets}/a.yaml", "${./hosts/x/own.yaml}", builtins.path { name = "all"; … }
            ("secrets/a.yaml", Some("secrets/a.yaml")),
            ("secrets/b.yaml", Some("hosts/x/secrets/b.yaml")),
            ("own.yaml", Some("hosts/x/own.yaml")),
            ("all/secrets/a.yaml", Some("secrets/a.yaml")),
            ("a.yaml", None),
            ("source/none.yaml", None),
            ("source", None),
        ] {
            let found = in_checkout(Path::new(&format!("/nix/store/{hash}-{store}")), dir.path());
            assert_eq!(found.ok(), wanted.map(|file| dir.path().join(file)), "{store}");
        }
        let own = dir.path().join("a.yaml");
        assert_eq!(in_checkout(&own, dir.path()).ok(), Some(own));
        assert!(in_checkout(Path::new("/etc/a.yaml"), dir.path()).is_err());
    }
}
