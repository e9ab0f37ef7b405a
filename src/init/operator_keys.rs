//! What the operator already has: SSH public keys to log in with, and an age
//! identity to edit secrets with, which is made when there is none.
//!
//! Nothing that exists is changed; a new identity is on disk, 0600, before its
//! public half is used anywhere.

use std::io;
use std::path::{Path, PathBuf};

use ssh_key::AuthorizedKeys;

use crate::secret::age;

use crate::error::{Advice, Exit};
use crate::secret::{Secret, create_private_dir, write_new_private};
use crate::sops::file::recipient::RecipientKind;

/// Why the operator's keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error("{} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is a private key", .0.display())]
    PrivateKey(PathBuf),
    #[error("{} holds no SSH public key: {why}", path.display())]
    NoPublicKey { path: PathBuf, why: String },
    #[error("{} holds no age identity that landfall can read", .0.display())]
    NoIdentity(PathBuf),
    #[error("{0} is not an age recipient")]
    NotARecipient(String),
}

impl Advice for OperatorError {
    fn hint(&self) -> String {
        match self {
            Self::Read { .. } | Self::Write { .. } => "Check the path and its permissions.".into(),
            Self::PrivateKey(path) => {
                format!("Give the public half: --ssh-key {}.pub", path.display())
            }
            Self::NoPublicKey { .. } => {
                "Give a file of public keys, as ssh-keygen writes them: --ssh-key FILE.pub".into()
            }
            Self::NoIdentity(_) => {
                "Name the public key with --age-recipient; keys of plugins and passphrase-protected \
                 files cannot be read here."
                    .into()
            }
            Self::NotARecipient(_) => {
                "Give an age public key (age1…), as age-keygen -y prints it.".into()
            }
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Write { .. } => Exit::Failed,
            _ => Exit::Usage,
        }
    }
}

/// The identity that opens the secrets on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub path: PathBuf,
    /// Public halves, in the order of the file.
    pub recipients: Vec<String>,
    /// Made just now, so that its owner should be told of it.
    pub new: bool,
}

/// Where sops looks for identities: `SOPS_AGE_KEY_FILE`, else below the config folder.
pub fn identity_path(home: &Path) -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("SOPS_AGE_KEY_FILE").unwrap_or_else(|| {
        set("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")).join("sops/age/keys.txt")
    })
}

/// The identity at `path`; made there when nothing is.
pub fn identity(path: &Path) -> Result<Identity, OperatorError> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = Secret::new(bytes);
            let recipients = recipients_of(text.expose_str().unwrap_or_default());
            if recipients.is_empty() {
                return Err(OperatorError::NoIdentity(path.to_owned()));
            }
            Ok(Identity { path: path.to_owned(), recipients, new: false })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_identity(path),
        Err(source) => Err(OperatorError::Read { path: path.to_owned(), source }),
    }
}

fn make_identity(path: &Path) -> Result<Identity, OperatorError> {
    let identity = age::Identity::generate();
    make_parent(path)
        .and_then(|()| write_new_private(path, identity.key_file().expose()))
        .map_err(|source| OperatorError::Write { path: path.to_owned(), source })?;
    let recipients = vec![identity.recipient().to_string()];
    Ok(Identity { path: path.to_owned(), recipients, new: true })
}

/// A folder that is there keeps its mode: it may hold more than keys.
fn make_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) if !dir.exists() => create_private_dir(dir),
        _ => Ok(()),
    }
}

/// The public halves of the identities in a key file; comments and other kinds are passed over.
fn recipients_of(key_file: &str) -> Vec<String> {
    key_file
        .lines()
        .filter_map(|line| age::Identity::parse(line).ok())
        .map(|identity| identity.recipient().to_string())
        .collect()
}

/// Checks one `--age-recipient`: native keys by their checksum, keys of plugins by their form.
pub fn check_recipient(text: &str) -> Result<(), OperatorError> {
    let age = text.starts_with("age1") && text.chars().all(|c| c.is_ascii_alphanumeric());
    match RecipientKind::of(text) {
        RecipientKind::X25519 | RecipientKind::Foreign if age => Ok(()),
        _ => Err(OperatorError::NotARecipient(text.to_owned())),
    }
}

/// The lines of a public key file, checked.
pub fn authorized_keys(path: &Path) -> Result<String, OperatorError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| OperatorError::Read { path: path.to_owned(), source })?;
    if text.contains("PRIVATE KEY-----") {
        return Err(OperatorError::PrivateKey(path.to_owned()));
    }
    let entries = AuthorizedKeys::new(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| no_public_key(path, error.to_string()))?;
    if entries.is_empty() {
        return Err(no_public_key(path, "it is empty".to_owned()));
    }
    Ok(text.trim_end().to_owned() + "\n")
}

fn no_public_key(path: &Path, why: String) -> OperatorError {
    OperatorError::NoPublicKey { path: path.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::exec::Cmd;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_identity_is_made_once_and_then_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sops/age/keys.txt");
        let first = identity(&path).unwrap();
        assert!(first.new);
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let again = identity(&path).unwrap();
        assert_eq!(again, Identity { new: false, ..first });
    }

    #[test]
    fn a_file_without_identities_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.txt");
        std::fs::write(&path, "AGE-PLUGIN-YUBIKEY-1ABC\n").unwrap();
        assert!(matches!(identity(&path), Err(OperatorError::NoIdentity(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "AGE-PLUGIN-YUBIKEY-1ABC\n");
    }

    #[test]
    fn recipients_are_checked() {
        let own = age::Identity::generate().recipient().to_string();
        let mut mistyped = own.clone();
        mistyped.replace_range(10..11, if &own[10..11] == "q" { "p" } else { "q" });
        assert!(check_recipient(&own).is_ok());
        assert!(check_recipient("age1yubikey1q2w3e4r").is_ok());
        for wrong in [mistyped.as_str(), "ssh-ed25519 AAAA", "age1", ""] {
            assert!(check_recipient(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn public_keys_of_ssh_keygen_are_accepted_and_private_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        for kind in ["ed25519", "ecdsa", "rsa"] {
            let key = dir.path().join(kind);
            Cmd::new("ssh-keygen")
                .args(["-q", "-N", "", "-t", kind, "-f"])
                .arg(&key)
                .run()
                .unwrap();
            let public = authorized_keys(&key.with_extension("pub")).unwrap();
            assert!(public.ends_with('\n') && public.lines().count() == 1, "{public}");
            assert!(matches!(authorized_keys(&key), Err(OperatorError::PrivateKey(_))));
        }
        let junk = dir.path().join("junk");
        std::fs::write(&junk, "hello\n").unwrap();
        assert!(matches!(authorized_keys(&junk), Err(OperatorError::NoPublicKey { .. })));
    }
}
