//! Tests and changes passphrases of LUKS volumes on a running system, for `landfall passphrase`.
//!
//! Invariants: at every moment the volume opens with a passphrase that was tested. The new one
//! gets its own keyslot and is tested before the old one loses its own, so repeating an
//! interrupted change completes it. Passphrases reach cryptsetup over standard input and pipes
//! alone.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Disk;
use crate::error::{Advice, Exit};
use crate::exec::{Cmd, ExecError, Output};
use crate::run::crash_points;
use crate::secret::Secret;
use crate::ssh::Session;

/// One more than the keyslots of a LUKS2 header (`LUKS2_KEYSLOTS_MAX`).
const MAX_REMOVALS: usize = 33;
/// cryptsetup's exit code for a wrong passphrase (cryptsetup(8), RETURN CODES).
const WRONG_PASSPHRASE: i32 = 2;

/// Script that reads the old and the new passphrase, a line each. The arguments of cryptsetup
/// only name pipes, and bash's builtin printf starts no process, so that neither shows in ps.
const ADD_KEY: &str = r#"IFS= read -r old && IFS= read -r new || exit 1
device=$1; shift
exec cryptsetup luksAddKey --batch-mode --key-file <(printf %s "$old") "$@" "$device" <(printf %s "$new")"#;

/// Why a passphrase was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LuksError {
    #[error("{device} is not a LUKS volume")]
    NotLuks { device: String },
    #[error("neither passphrase opens {volume}")]
    NoMatch { volume: String },
    #[error("cryptsetup is not installed on the machine")]
    NoCryptsetup,
    #[error("{volume} does not open with the new passphrase")]
    NewFails { volume: String },
    #[error("the old passphrase still opens {volume}")]
    OldRemains { volume: String },
    #[error("{doing} failed: {source}")]
    Cryptsetup { doing: String, source: ExecError },
    #[error("the output of cryptsetup cannot be parsed\n{output}")]
    Output { output: String },
}

impl Advice for LuksError {
    fn hint(&self) -> String {
        match self {
            Self::NotLuks { .. } => {
                "Name another with --volume: lsblk -o NAME,FSTYPE on the machine shows crypto_LUKS."
                    .into()
            }
            Self::NoMatch { .. } => {
                "Nothing was changed. Give the passphrase that opens it now as the old one.".into()
            }
            Self::NoCryptsetup => {
                "Add pkgs.cryptsetup to the machine's environment.systemPackages.".into()
            }
            Self::NewFails { .. } => {
                "The old one still opens it: run the same command again.".into()
            }
            Self::OldRemains { .. } | Self::Output { .. } => {
                "Both may open it now: see `cryptsetup luksDump` on the machine, then run the same \
                 command again."
                    .into()
            }
            Self::Cryptsetup { .. } => {
                "The volume opens as before. Run the same command again.".into()
            }
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::NotLuks { .. } => Exit::Usage,
            Self::NoMatch { .. } => Exit::Person,
            Self::Cryptsetup { source, .. } => source.exit(),
            _ => Exit::Failed,
        }
    }
}

/// A LUKS device of a machine, open or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LuksDevice {
    /// Its name in /dev/mapper; `None` while it is closed.
    pub(crate) name: Option<String>,
    /// The encrypted device.
    pub(crate) device: String,
}

impl LuksDevice {
    /// Returns its name for people: that in /dev/mapper, else the device.
    pub(crate) fn display_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.device)
    }
}

/// Returns the LUKS volumes on `disks`, without duplicates.
pub(crate) fn volumes(disks: &[Disk]) -> Vec<LuksDevice> {
    let mut volumes: Vec<LuksDevice> = Vec::new();
    for disk in disks {
        for (index, part) in disk.parts.iter().enumerate() {
            let known = volumes.iter().any(|volume| volume.device == part.path);
            if part.fs_type.as_deref() != Some("crypto_LUKS") || known {
                continue;
            }
            // lsblk lists the opened volume right after its device.
            let inner = disk.parts.get(index + 1).filter(|inner| inner.kind == "crypt");
            let name = inner.and_then(|inner| inner.path.strip_prefix("/dev/mapper/"));
            volumes.push(LuksDevice { name: name.map(str::to_owned), device: part.path.clone() });
        }
    }
    volumes
}

/// The outcome of changing a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PassphraseChange {
    Changed,
    /// An interrupted change had added the new passphrase; now the old one is removed.
    Completed,
    /// The new passphrase opened the volume, and no other one had to be removed.
    AlreadyDone,
}

/// The LUKS header of a volume, on the machine at the other end of a session.
#[derive(Debug)]
pub(crate) struct LuksHeader<'a> {
    session: &'a Session,
    volume: &'a LuksDevice,
    /// Of a LUKS2 header; LUKS1 has none.
    metadata: Option<Metadata>,
}

impl<'a> LuksHeader<'a> {
    /// Reads the header with cryptsetup; refuses a device that is not a LUKS volume.
    pub(crate) fn read(session: &'a Session, volume: &'a LuksDevice) -> Result<Self, LuksError> {
        let header = Self { session, volume, metadata: None };
        let dump = header.cryptsetup(&["luksDump", "--dump-json-metadata"]).output();
        let dump = dump.map_err(|source| header.failed("reading the header", source))?;
        if dump.status.code() == Some(127) {
            return Err(LuksError::NoCryptsetup);
        }
        if dump.status.success() {
            let metadata = serde_json::from_slice(&dump.stdout)
                .map_err(|error| LuksError::Output { output: error.to_string() })?;
            return Ok(Self { metadata: Some(metadata), ..header });
        }
        // LUKS1 has no such metadata.
        match header.cryptsetup(&["isLuks"]).run() {
            Ok(_) => Ok(header),
            Err(error) if error.code().is_some_and(|code| code != 255) => {
                Err(LuksError::NotLuks { device: volume.device.clone() })
            }
            Err(source) => Err(header.failed("checking for LUKS", source)),
        }
    }

    /// Counts the keyslots in use; `None` for LUKS1.
    pub(crate) fn keyslots(&self) -> Option<usize> {
        self.metadata.as_ref().map(|metadata| metadata.keyslots.len())
    }

    /// Returns the number of the keyslot that a passphrase opens, if any.
    pub(crate) fn test(&self, passphrase: &Secret) -> Result<Option<String>, LuksError> {
        // A token (TPM, FIDO2) must not open it in the passphrase's place: no token has this type.
        let tried = self
            .cryptsetup(&[
                "open",
                "--test-passphrase",
                "--verbose",
                "--token-type",
                "none",
                "--key-file",
                "-",
            ])
            .stdin(passphrase.clone())
            .output()
            .map_err(|source| self.failed("testing a passphrase", source))?;
        match tried.status.code() {
            Some(0) => slot(&tried).map(Some),
            Some(WRONG_PASSPHRASE) => Ok(None),
            _ => Err(LuksError::Output { output: tried.stderr }),
        }
    }

    /// Replaces the passphrase `old` by `new`. Changes nothing where neither opens the volume.
    pub(crate) fn change(&self, old: &Secret, new: &Secret) -> Result<PassphraseChange, LuksError> {
        let change = match (self.test(old)?, self.test(new)?) {
            (None, None) => return Err(LuksError::NoMatch { volume: self.volume_name() }),
            (None, Some(_)) => return Ok(PassphraseChange::AlreadyDone),
            // Both are the same passphrase.
            (Some(old), Some(new)) if old == new => return Ok(PassphraseChange::AlreadyDone),
            (Some(_), Some(_)) => PassphraseChange::Completed,
            (Some(slot), None) => {
                self.add(old, new, &slot)?;
                if self.test(new)?.is_none() {
                    return Err(LuksError::NewFails { volume: self.volume_name() });
                }
                PassphraseChange::Changed
            }
        };
        for _ in 0..MAX_REMOVALS {
            self.remove(old)?;
            if self.test(old)?.is_none() {
                return match self.test(new)? {
                    Some(_) => Ok(change),
                    None => Err(LuksError::NewFails { volume: self.volume_name() }),
                };
            }
        }
        Err(LuksError::OldRemains { volume: self.volume_name() })
    }

    /// Adds a keyslot for `new`, with the key derivation of that of `old`: a boot loader may not
    /// support another.
    fn add(&self, old: &Secret, new: &Secret, slot: &str) -> Result<(), LuksError> {
        crash_points::disk("the new passphrase gets a slot");
        let kdf = self.metadata.as_ref().and_then(|metadata| metadata.keyslots.get(slot));
        let options = kdf.and_then(|slot| slot.kdf.as_ref()).map(Kdf::options).unwrap_or_default();
        let words = ["env", "LC_ALL=C", "bash", "-c", ADD_KEY, "bash", &self.volume.device];
        let words: Vec<&str> =
            words.into_iter().chain(options.iter().map(String::as_str)).collect();
        let lines = [old.expose(), b"\n", new.expose(), b"\n"].concat();
        self.session
            .root(&words)
            .stdin(Secret::new(lines))
            .run()
            .map(drop)
            .map_err(|source| self.failed("adding the new passphrase", source))
    }

    /// Removes the keyslot of `old`. Must follow a test of another passphrase: in batch mode,
    /// cryptsetup also removes the last one.
    fn remove(&self, old: &Secret) -> Result<(), LuksError> {
        crash_points::disk("the old passphrase loses its slot");
        self.cryptsetup(&["luksRemoveKey", "--batch-mode", "--key-file", "-"])
            .stdin(old.clone())
            .run()
            .map(drop)
            .map_err(|source| self.failed("removing the old passphrase", source))
    }

    fn cryptsetup(&self, words: &[&str]) -> Cmd {
        let program = ["env", "LC_ALL=C", "cryptsetup"];
        self.session.root(&[&program[..], words, &[self.volume.device.as_str()]].concat())
    }

    fn volume_name(&self) -> String {
        self.volume.display_name().to_owned()
    }

    fn failed(&self, doing: &str, source: ExecError) -> LuksError {
        if source.code() == Some(127) {
            return LuksError::NoCryptsetup;
        }
        LuksError::Cryptsetup { doing: format!("{doing} ({})", self.volume.device), source }
    }
}

/// Parses the number in cryptsetup's `Key slot 0 unlocked.`
fn slot(output: &Output) -> Result<String, LuksError> {
    let text = output.text();
    let number = text
        .lines()
        .find_map(|line| line.strip_prefix("Key slot ")?.strip_suffix(" unlocked."))
        .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    number.map(str::to_owned).ok_or(LuksError::Output { output: text })
}

/// The JSON area of a LUKS2 header, as far as it is needed (LUKS2 On-Disk Format, 3.2).
#[derive(Debug, Deserialize)]
struct Metadata {
    keyslots: BTreeMap<String, Keyslot>,
}

#[derive(Debug, Deserialize)]
struct Keyslot {
    /// Absent in the keyslot of a re-encryption.
    kdf: Option<Kdf>,
}

/// A key derivation function and its cost.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Kdf {
    Pbkdf2 { hash: String, iterations: u64 },
    Argon2i(Argon2),
    Argon2id(Argon2),
}

#[derive(Debug, Deserialize)]
struct Argon2 {
    /// Iterations.
    time: u64,
    /// In KiB.
    memory: u64,
    cpus: u64,
}

impl Kdf {
    /// Returns cryptsetup's options for the same function and cost.
    fn options(&self) -> Vec<String> {
        let (name, cost) = match self {
            Self::Pbkdf2 { hash, iterations } => {
                ("pbkdf2", [("--hash", hash.clone()), (ITERATIONS, iterations.to_string())].into())
            }
            Self::Argon2i(cost) => ("argon2i", cost.options()),
            Self::Argon2id(cost) => ("argon2id", cost.options()),
        };
        let name = ("--pbkdf", name.to_owned());
        std::iter::once(name).chain(cost).flat_map(|(flag, value)| [flag.into(), value]).collect()
    }
}

const ITERATIONS: &str = "--pbkdf-force-iterations";

impl Argon2 {
    fn options(&self) -> Vec<(&'static str, String)> {
        vec![
            ("--pbkdf-memory", self.memory.to_string()),
            ("--pbkdf-parallel", self.cpus.to_string()),
            (ITERATIONS, self.time.to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Part;

    fn part(path: &str, kind: &str, fs_type: Option<&str>) -> Part {
        let (path, kind) = (path.to_owned(), kind.to_owned());
        Part { path, kind, fs_type: fs_type.map(str::to_owned), ..Part::default() }
    }

    #[test]
    fn volumes_are_named_where_they_are_open() {
        let disk = Disk {
            path: "/dev/vda".into(),
            model: None,
            serial: None,
            size_bytes: 0,
            removable: false,
            read_only: false,
            links: Vec::new(),
            guid: None,
            parts: vec![
                part("/dev/vda1", "part", Some("vfat")),
                part("/dev/vda2", "part", Some("crypto_LUKS")),
                part("/dev/mapper/crypted", "crypt", Some("btrfs")),
                part("/dev/vda3", "part", Some("crypto_LUKS")),
                part("/dev/vda4", "part", Some("ext4")),
            ],
        };
        let found = volumes(&[disk.clone(), disk]);
        let shown: Vec<&str> = found.iter().map(LuksDevice::display_name).collect();
        assert_eq!(shown, ["crypted", "/dev/vda3"]);
        assert_eq!(found[0].device, "/dev/vda2");
    }

    #[test]
    fn a_new_keyslot_has_the_cost_of_the_old_one() {
        let options = |json: &str| {
            let metadata: Metadata = serde_json::from_str(json).unwrap();
            metadata.keyslots["0"].kdf.as_ref().map(|kdf| kdf.options().join(" "))
        };
        let slot = |kdf: &str| format!(r#"{{"keyslots":{{"0":{{"type":"luks2"{kdf}}}}},"x":1}}"#);
        assert_eq!(options(&slot("")), None);
        assert_eq!(
            options(&slot(
                r#","kdf":{"type":"pbkdf2","hash":"sha512","iterations":1000,"salt":""}"#
            ))
            .unwrap(),
            "--pbkdf pbkdf2 --hash sha512 --pbkdf-force-iterations 1000"
        );
        assert_eq!(
            options(&slot(
                r#","kdf":{"type":"argon2id","time":4,"memory":1024,"cpus":2,"salt":""}"#
            ))
            .unwrap(),
            "--pbkdf argon2id --pbkdf-memory 1024 --pbkdf-parallel 2 --pbkdf-force-iterations 4"
        );
    }
}
