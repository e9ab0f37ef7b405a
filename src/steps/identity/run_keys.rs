//! The keys of a run, in its private folder: made or restored before anything
//! refers to them, each file 0600 and synced before it is used.

use std::path::{Path, PathBuf};

use crate::config::{ConfigError, HostName, SecretPlace};
use crate::error::StepError;
use crate::secret::age::{HostKeyPair, Identity};
use crate::secret::{PASSING_PREFIX, Secret, create_private_dir, write_private};
use crate::ssh::HostKey;

/// What the names of key files of encrypted volumes begin with.
const LUKS_PREFIX: &str = "luks";

/// Where a run keeps its keys.
#[derive(Debug, Clone)]
pub(crate) struct RunKeys {
    dir: PathBuf,
}

impl RunKeys {
    pub(crate) fn in_dir(run: &Path) -> Self {
        Self { dir: run.join("keys") }
    }

    fn private_path(&self) -> PathBuf {
        self.dir.join("ssh_host_ed25519_key")
    }

    /// The public host key, in the format of `ssh-keygen`'s `.pub` files.
    pub(crate) fn public_path(&self) -> PathBuf {
        self.dir.join("ssh_host_ed25519_key.pub")
    }

    /// Whether the host key was made or taken over.
    pub(crate) fn is_prepared(&self) -> bool {
        self.private_path().exists() && self.public_path().exists()
    }

    /// Takes over the host key `known`, or makes one; does nothing when there is one.
    pub(crate) fn prepare(
        &self,
        comment: &str,
        known: Option<HostKeyPair>,
    ) -> Result<(), StepError> {
        if self.is_prepared() {
            return Ok(());
        }
        create_private_dir(&self.dir).map_err(|error| self.io(&error))?;
        let pair = match known {
            Some(pair) => pair,
            None => HostKeyPair::generate(comment)?,
        };
        let public = format!("{}\n", pair.public_openssh()?);
        write_private(&self.private_path(), pair.private_openssh()?.expose())
            .and_then(|()| write_private(&self.public_path(), public.as_bytes()))
            .map_err(|error| self.io(&error))
    }

    /// The private half; gone once the run is done.
    pub(crate) fn pair(&self) -> Result<HostKeyPair, StepError> {
        let bytes = std::fs::read(self.private_path()).map_err(|error| self.io(&error))?;
        let secret = Secret::new(bytes);
        Ok(HostKeyPair::parse(secret.expose_str().unwrap_or_default())?)
    }

    pub(crate) fn has_private(&self) -> bool {
        self.private_path().exists()
    }

    /// Where the key is that the machine had before and keeps.
    fn kept_path(&self) -> PathBuf {
        self.dir.join("kept.pub")
    }

    /// The host key that the machine had before the installation and keeps; its private
    /// half never left it.
    pub(crate) fn kept(&self) -> Option<HostKey> {
        std::fs::read_to_string(self.kept_path()).ok()?.parse().ok()
    }

    /// From now on the installed system must show `key`; one that was made goes.
    pub(crate) fn keep(&self, key: &HostKey) -> Result<(), StepError> {
        create_private_dir(&self.dir)
            .and_then(|()| write_private(&self.kept_path(), format!("{key}\n").as_bytes()))
            .map_err(|error| self.io(&error))?;
        self.forget_private()
    }

    /// The key that the installed system must show; none before it was made.
    pub(crate) fn public(&self) -> Option<HostKey> {
        if let Some(kept) = self.kept() {
            return Some(kept);
        }
        std::fs::read_to_string(self.public_path()).ok()?.parse().ok()
    }

    /// Pins a key that was known before: one that this run did not make.
    pub(crate) fn pin(&self, key: &HostKey) -> Result<(), StepError> {
        create_private_dir(&self.dir)
            .and_then(|()| write_private(&self.public_path(), format!("{key}\n").as_bytes()))
            .map_err(|error| self.io(&error))
    }

    /// The public half as it is written to the target.
    pub(crate) fn public_line(&self) -> Result<String, StepError> {
        std::fs::read_to_string(self.public_path()).map_err(|error| self.io(&error))
    }

    /// The key file that opens encrypted volumes without a person; `path` is its place in
    /// the layout of the disks. None before it was made.
    pub(crate) fn luks_key(&self, path: &str) -> Option<Secret> {
        std::fs::read(self.luks_path(path)).ok().map(Secret::new)
    }

    /// Makes that key file: 2048 random bytes as text, without a line break.
    pub(crate) fn prepare_luks_key(
        &self,
        path: &str,
        make: impl FnOnce() -> Secret,
    ) -> Result<(), StepError> {
        if self.luks_path(path).exists() {
            return Ok(());
        }
        create_private_dir(&self.dir).map_err(|error| self.io(&error))?;
        write_private(&self.luks_path(path), make().expose()).map_err(|error| self.io(&error))
    }

    fn luks_path(&self, path: &str) -> PathBuf {
        self.dir.join(format!("{LUKS_PREFIX}{}", path.replace('/', "-")))
    }

    fn entries(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// The private halves that are here, and what a killed process left of one.
    pub(crate) fn private_files(&self) -> Vec<PathBuf> {
        let mut files = [self.private_path(), self.initrd_path(), self.user_age_path()].to_vec();
        files.retain(|file| file.exists());
        let luks = self.entries().into_iter().filter(|name| name.starts_with(LUKS_PREFIX));
        files.extend(luks.map(|name| self.dir.join(name)));
        files.extend(self.left_overs());
        files
    }

    /// What a process that was killed while it wrote a key has left.
    pub(crate) fn left_overs(&self) -> Vec<PathBuf> {
        let passing = |name: &String| name.starts_with(PASSING_PREFIX) || name.contains(".tmp-");
        self.entries().into_iter().filter(passing).map(|name| self.dir.join(name)).collect()
    }

    /// Deletes the private halves: the installed host has them, the source need not.
    pub(crate) fn forget_private(&self) -> Result<(), StepError> {
        for path in self.private_files() {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(self.io(&error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes over the age key `known` of the primary user, or makes one; does nothing when
    /// there is one.
    pub(crate) fn prepare_user_age(&self, known: Option<Identity>) -> Result<(), StepError> {
        if self.user_age_path().exists() {
            return Ok(());
        }
        create_private_dir(&self.dir).map_err(|error| self.io(&error))?;
        let identity = known.unwrap_or_else(Identity::generate);
        write_private(&self.user_age_path(), identity.key_file().expose())
            .map_err(|error| self.io(&error))
    }

    fn user_age_path(&self) -> PathBuf {
        self.dir.join("user_age_keys.txt")
    }

    /// The primary user's age key, where this run brings it.
    pub(crate) fn user_age(&self) -> Option<Identity> {
        let secret = Secret::new(std::fs::read(self.user_age_path()).ok()?);
        secret.expose_str()?.lines().find_map(|line| Identity::parse(line).ok())
    }

    /// Deletes all keys of the run.
    pub(crate) fn forget(&self) -> Result<(), StepError> {
        match std::fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(self.io(&error)),
            _ => Ok(()),
        }
    }

    /// Makes the host key of the initrd's SSH server, another one than the host's:
    /// whoever reads the unencrypted boot partition can read it.
    pub(crate) fn prepare_initrd(&self, comment: &str) -> Result<(), StepError> {
        if self.initrd_path().exists() {
            return Ok(());
        }
        create_private_dir(&self.dir).map_err(|error| self.io(&error))?;
        let pair = HostKeyPair::generate(comment)?;
        let public = format!("{}\n", pair.public_openssh()?);
        write_private(&self.initrd_path(), pair.private_openssh()?.expose())
            .and_then(|()| write_private(&self.initrd_public_path(), public.as_bytes()))
            .map_err(|error| self.io(&error))
    }

    fn initrd_path(&self) -> PathBuf {
        self.dir.join("initrd_ssh_host_ed25519_key")
    }

    fn initrd_public_path(&self) -> PathBuf {
        self.dir.join("initrd_ssh_host_ed25519_key.pub")
    }

    /// The initrd's key pair, where the configuration has use for one.
    pub(crate) fn initrd(&self) -> Option<HostKeyPair> {
        let secret = Secret::new(std::fs::read(self.initrd_path()).ok()?);
        HostKeyPair::parse(secret.expose_str()?).ok()
    }

    /// The key with which the initrd answers while it waits for the passphrase.
    pub(crate) fn initrd_public(&self) -> Option<HostKey> {
        std::fs::read_to_string(self.initrd_public_path()).ok()?.parse().ok()
    }

    /// Where the trusted key of the installer is kept.
    fn installer_path(&self) -> PathBuf {
        self.dir.join("installer.pub")
    }

    /// The installer's key, once it was verified in this run.
    pub(crate) fn installer(&self) -> Option<HostKey> {
        std::fs::read_to_string(self.installer_path()).ok()?.parse().ok()
    }

    pub(crate) fn trust_installer(&self, key: &HostKey) -> Result<(), StepError> {
        create_private_dir(&self.dir)
            .and_then(|()| write_private(&self.installer_path(), format!("{key}\n").as_bytes()))
            .map_err(|error| self.io(&error))
    }

    fn io(&self, error: &std::io::Error) -> StepError {
        StepError::new(
            format!("the run's keys in {} cannot be used", self.dir.display()),
            error.to_string(),
            "Make that folder writable for you; landfall abandon HOST forgets the run.",
        )
    }
}

/// Where the private host key is kept in the secrets repository, encrypted.
pub(crate) fn stored_place(host: &HostName) -> SecretPlace {
    SecretPlace {
        file: format!("identities/{host}.yaml").into(),
        key: vec!["ssh_host_ed25519_key".into()],
    }
}

/// Where the age key of a user is kept beside it.
pub(crate) fn stored_user_place(host: &HostName, user: &str) -> SecretPlace {
    SecretPlace { key: vec!["age".into(), user.into()], ..stored_place(host) }
}

/// The host key that the user gave.
pub(crate) fn read_given(path: &Path) -> Result<HostKeyPair, StepError> {
    let refuse = |why: String| ConfigError::HostKey { path: path.to_owned(), why };
    let bytes = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let secret = Secret::new(bytes);
    let text = secret.expose_str().ok_or_else(|| refuse("it is not text".into()))?;
    HostKeyPair::parse(text).map_err(|error| refuse(error.to_string()).into())
}
