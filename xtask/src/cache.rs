//! The one folder in which the lab keeps what it built: `$LANDFALL_LAB_CACHE`, else
//! `landfall-lab` in the user's cache folder.
//!
//! Invariant: a built thing is used only while its stamp names what made it; the stamp is
//! written last, so a half-built thing is built again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// What explains a folder, and makes nothing of what is built from it.
const PAGE: &str = "README.md";

/// Paths below the lab's cache folder.
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the cache folder of this user, and makes it when it is missing.
    pub(crate) fn open() -> Result<Cache> {
        let root = match std::env::var_os("LANDFALL_LAB_CACHE") {
            Some(dir) => PathBuf::from(dir),
            None => user_cache()?.join("landfall-lab"),
        };
        fs::create_dir_all(&root)
            .with_context(|| format!("cannot make the lab's cache folder {}", root.display()))?;
        let root = root.canonicalize()?;
        Ok(Cache { root })
    }

    /// Returns the folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a path below the folder.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// Waits until no other process makes parts of the lab, and keeps others waiting until the
    /// returned file is dropped.
    pub(crate) fn lock(&self) -> Result<fs::File> {
        let lock = fs::File::create(self.path("lock"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .context("cannot lock the lab's cache folder")?;
        Ok(lock)
    }

    /// Makes an empty folder for work in progress, without what an earlier run left there.
    pub(crate) fn work_folder(&self, name: &str) -> Result<PathBuf> {
        let dir = self.path("tmp").join(name);
        remove(&dir)?;
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Says whether `name` was built from `made_of`.
    pub(crate) fn is_current(&self, name: &str, made_of: &str) -> bool {
        fs::read_to_string(self.stamp(name)).is_ok_and(|stamp| stamp == made_of)
    }

    /// Records that `name` is built from `made_of`.
    pub(crate) fn record(&self, name: &str, made_of: &str) -> Result<()> {
        let stamp = self.stamp(name);
        fs::create_dir_all(self.path("stamps"))?;
        fs::write(&stamp, made_of).with_context(|| format!("cannot write {}", stamp.display()))
    }

    fn stamp(&self, name: &str) -> PathBuf {
        self.path("stamps").join(name)
    }
}

fn user_cache() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(dir));
    }
    let home = std::env::var_os("HOME")
        .context("neither LANDFALL_LAB_CACHE, XDG_CACHE_HOME nor HOME is set: set one")?;
    Ok(PathBuf::from(home).join(".cache"))
}

/// Removes a folder if it is there.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Hashes a folder: names, whether they can be run, and contents, in order of name. Where the
/// folder lies does not matter, nor what its pages say.
pub(crate) fn hash_of(dir: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    hash_folder(&mut hasher, dir)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn hash_folder(hasher: &mut Sha256, dir: &Path) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
    names.retain(|name| name != PAGE);
    names.sort();
    for name in names {
        hasher.update(name.as_encoded_bytes());
        hasher.update([0]);
        hash_entry(hasher, &dir.join(&name))?;
    }
    Ok(())
}

fn hash_entry(hasher: &mut Sha256, path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let meta =
        fs::symlink_metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if meta.is_dir() {
        return hash_folder(hasher, path);
    }
    if meta.is_symlink() {
        hasher.update(fs::read_link(path)?.as_os_str().as_encoded_bytes());
    } else {
        hasher.update((meta.permissions().mode() & 0o111).to_le_bytes());
        hasher.update(meta.len().to_le_bytes());
        hasher.update(fs::read(path)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temp_dir::TempDir;

    #[test]
    fn a_page_makes_nothing_anew() {
        let dir = TempDir::new("cache").expect("a folder");
        fs::write(dir.path().join("build.sh"), "true").expect("a script");
        let before = hash_of(dir.path()).expect("a hash");
        fs::write(dir.path().join(PAGE), "How to add to it").expect("a page");
        assert_eq!(hash_of(dir.path()).expect("a hash"), before);
        fs::write(dir.path().join("build.sh"), "false").expect("a script");
        assert_ne!(hash_of(dir.path()).expect("a hash"), before);
    }
}
