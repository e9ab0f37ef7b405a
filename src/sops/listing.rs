//! The encrypted files that one `.sops.yaml` decides over, each with every name that it has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::inside::Inside;
use super::rules::{Rule, RulesError};
use crate::sops::change::repo::{RepoError, files_below};
use crate::sops::change::rewrap::read_encrypted;

/// A file and the names that lead to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Where it lies, without links on the way.
    pub(crate) path: PathBuf,
    /// Relative to the folder of `.sops.yaml`; its own name first.
    pub(crate) names: Vec<PathBuf>,
}

impl Listed {
    /// The name that stands for the file.
    pub(crate) fn name(&self) -> &Path {
        self.names.first().map_or(self.path.as_path(), PathBuf::as_path)
    }

    /// The rule that holds for the file, and the name that it holds for: a link is looked
    /// at where no rule knows the file's own name.
    pub(crate) fn winner<'v, 'n>(
        &self,
        rules: &'v [Rule<'n>],
    ) -> Result<Option<(&'v Rule<'n>, &Path)>, RulesError> {
        for name in &self.names {
            if let Some(rule) = super::rules::winner(rules, name)? {
                return Ok(Some((rule, name)));
            }
        }
        Ok(None)
    }
}

/// The files of one config.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) files: Vec<Listed>,
    /// Folders with a config of their own, which decides over what lies below it.
    nested: BTreeSet<PathBuf>,
    inside: Inside,
    /// The folder of the config, without links on the way.
    dir: PathBuf,
}

/// A file that may be a link is read to see what it is; nothing that sops wrote is larger.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

impl Listing {
    /// Lists the files below the config in `dir`. A link that leads to an encrypted file
    /// outside of the repository is refused; one that leads to anything else is none of
    /// ours.
    pub(crate) fn of(repo_dir: &Path, dir: &Path) -> Result<Self, RepoError> {
        let inside = Inside::of(dir);
        let real_dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        let names = files_below(repo_dir, dir)?;
        let nested = names.iter().filter(|name| name.ends_with(".sops.yaml"));
        let nested = nested.filter_map(|name| name.parent());
        let nested = nested.filter(|dir| !dir.as_os_str().is_empty()).map(Path::to_owned).collect();
        let mut listing = Self { files: Vec::new(), nested, inside, dir: real_dir };
        listing.gather(names)?;
        Ok(listing)
    }

    fn gather(&mut self, names: Vec<PathBuf>) -> Result<(), RepoError> {
        let mut found: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        let mut folders = Vec::new();
        for name in names {
            let path = self.dir.join(&name);
            if !path.is_symlink() {
                found.entry(path).or_default().insert(0, name);
                continue;
            }
            match self.inside.real(&path) {
                Ok(Some(real)) if real.is_dir() => folders.push((name, real)),
                Ok(Some(real)) => found.entry(real).or_default().push(name),
                Ok(None) => {}
                Err(error) if is_encrypted_elsewhere(&path) => return Err(error),
                Err(_) => {}
            }
        }
        for (path, names) in &mut found {
            for (link, folder) in &folders {
                names.extend(path.strip_prefix(folder).map(|rest| link.join(rest)));
            }
        }
        let files = found.into_iter().map(|(path, names)| self.named(path, names));
        let mut files: Vec<Listed> =
            files.filter(|file| self.nested_config(&file.path).is_none()).collect();
        files.sort_by(|one, other| one.names.cmp(&other.names));
        self.files = files;
        Ok(())
    }

    fn named(&self, path: PathBuf, mut names: Vec<PathBuf>) -> Listed {
        if let Ok(own) = path.strip_prefix(&self.dir) {
            names.retain(|name| name != own);
            names.insert(0, own.to_owned());
        }
        Listed { path, names }
    }

    /// The folders of the files, and that of the config.
    pub(crate) fn folders(&self) -> BTreeSet<PathBuf> {
        let of_files = self.files.iter().filter_map(|file| file.path.parent());
        of_files.chain([self.dir.as_path()]).map(Path::to_owned).collect()
    }

    /// The config below this one that decides over `path`.
    pub(crate) fn nested_config(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(&self.dir).ok()?;
        let owner = below.ancestors().skip(1).find(|dir| self.nested.contains(*dir))?;
        Some(owner.join(".sops.yaml"))
    }

    /// The file that `path` leads to, with `path` as one of its names where it lies below
    /// the config; none where there is nothing.
    pub(crate) fn find(&self, path: &Path) -> Result<Option<Listed>, RepoError> {
        let Some(real) = self.inside.real(path)? else { return Ok(None) };
        let known = self.files.iter().find(|file| file.path == real).cloned();
        let mut file = known.unwrap_or_else(|| self.named(real, Vec::new()));
        let folder = path.parent().and_then(|dir| dir.canonicalize().ok());
        let spelled = folder.zip(path.file_name()).map(|(dir, name)| dir.join(name));
        for spelled in [Some(path.to_owned()), spelled].into_iter().flatten() {
            if let Ok(name) = spelled.strip_prefix(&self.dir)
                && name.components().all(|part| matches!(part, Component::Normal(_)))
                && !file.names.iter().any(|known| known == name)
            {
                file.names.push(name.to_owned());
            }
        }
        Ok(Some(file))
    }
}

fn is_encrypted_elsewhere(path: &Path) -> bool {
    let small =
        std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() < MOST_BYTES);
    small && matches!(read_encrypted(path), Ok(Some(_)))
}
