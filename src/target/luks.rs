//! Passphrases of LUKS volumes on a running system: which of them opens a volume, and the
//! change from one to another.
//!
//! Invariant: at every moment a passphrase that has proven itself opens the volume. The new
//! one gets a slot of its own and is tried before the old one loses its slot, so a change
//! that was interrupted is completed by making it again. Both reach cryptsetup over standard
//! input and pipes alone.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Disk;
use crate::error::{Advice, Exit};
use crate::exec::{Cmd, ExecError, Output};
use crate::run::crash_points;
use crate::secret::Secret;
use crate::ssh::Session;

/// More slots than a LUKS2 header has.
const SLOTS: usize = 33;
/// cryptsetup's exit code for a passphrase that opens nothing.
const OPENS_NOTHING: i32 = 2;

/// Reads the old and the new passphrase, a line each. In an argument of cryptsetup is only
/// the name of a pipe, and a shell's own printf is no process.
const ADD: &str = r#"IFS= read -r old && IFS= read -r new || exit 1
device=$1; shift
exec cryptsetup luksAddKey --batch-mode --key-file <(printf %s "$old") "$@" "$device" <(printf %s "$new")"#;

#[derive(Debug, thiserror::Error)]
pub enum LuksError {
    #[error("{device} is no LUKS volume")]
    NotLuks { device: String },
    #[error("neither passphrase opens {volume}")]
    Neither { volume: String },
    #[error("cryptsetup is missing on the machine")]
    NoCryptsetup,
    #[error("{volume} does not open with the new passphrase")]
    Unproven { volume: String },
    #[error("the old passphrase still opens {volume}")]
    Remains { volume: String },
    #[error("{doing} failed: {source}")]
    Cryptsetup { doing: String, source: ExecError },
    #[error("cryptsetup's answer is not understood\n{said}")]
    Answer { said: String },
}

impl Advice for LuksError {
    fn hint(&self) -> String {
        match self {
            Self::NotLuks { .. } => {
                "Name another with --volume: lsblk -o NAME,FSTYPE on the machine shows crypto_LUKS."
                    .into()
            }
            Self::Neither { .. } => {
                "Nothing was changed. Give the passphrase that opens it now as the old one.".into()
            }
            Self::NoCryptsetup => {
                "Put pkgs.cryptsetup into the machine's environment.systemPackages.".into()
            }
            Self::Unproven { .. } => {
                "The old one still opens it. Run the same command again.".into()
            }
            Self::Remains { .. } | Self::Answer { .. } => {
                "Both may open it now: see `cryptsetup luksDump` on the machine, then run the same \
                 command again."
                    .into()
            }
            Self::Cryptsetup { .. } => {
                "What opened it before still does. Run the same command again.".into()
            }
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::NotLuks { .. } => Exit::Usage,
            Self::Neither { .. } => Exit::Person,
            Self::Cryptsetup { source, .. } => source.exit(),
            _ => Exit::Failed,
        }
    }
}

/// A LUKS volume of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Below /dev/mapper; none while it is closed.
    pub name: Option<String>,
    /// The encrypted device.
    pub device: String,
}

impl Volume {
    /// For people.
    pub fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.device)
    }
}

/// The volumes on these disks, each once.
pub fn volumes(disks: &[Disk]) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = Vec::new();
    for disk in disks {
        for (index, part) in disk.parts.iter().enumerate() {
            let known = volumes.iter().any(|volume| volume.device == part.path);
            if part.fs_type.as_deref() != Some("crypto_LUKS") || known {
                continue;
            }
            // What lies in a part comes right after it.
            let inner = disk.parts.get(index + 1).filter(|inner| inner.kind == "crypt");
            let name = inner.and_then(|inner| inner.path.strip_prefix("/dev/mapper/"));
            volumes.push(Volume { name: name.map(str::to_owned), device: part.path.clone() });
        }
    }
    volumes
}

/// What a change has found and done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Made,
    /// An earlier one had put the new passphrase there, and not taken the old one away.
    Completed,
    /// The new passphrase opened the volume, and the old one did not.
    DoneAlready,
}

/// The header of a volume, on the machine at the other end of a session.
#[derive(Debug)]
pub struct Header<'a> {
    session: &'a Session,
    volume: &'a Volume,
    metadata: Option<Metadata>,
}

impl<'a> Header<'a> {
    pub fn read(session: &'a Session, volume: &'a Volume) -> Result<Self, LuksError> {
        let header = Self { session, volume, metadata: None };
        let dump = header.cryptsetup(&["luksDump", "--dump-json-metadata"]).output();
        let dump = dump.map_err(|source| header.failed("reading the header", source))?;
        if dump.status.code() == Some(127) {
            return Err(LuksError::NoCryptsetup);
        }
        if dump.status.success() {
            let metadata = serde_json::from_slice(&dump.stdout)
                .map_err(|error| LuksError::Answer { said: error.to_string() })?;
            return Ok(Self { metadata: Some(metadata), ..header });
        }
        // LUKS1 has no such metadata.
        match header.cryptsetup(&["isLuks"]).run() {
            Ok(_) => Ok(header),
            Err(error) if error.code().is_some_and(|code| code != 255) => {
                Err(LuksError::NotLuks { device: volume.device.clone() })
            }
            Err(source) => Err(header.failed("looking at it", source)),
        }
    }

    /// The slots that hold a key.
    pub fn slots(&self) -> Option<usize> {
        self.metadata.as_ref().map(|metadata| metadata.keyslots.len())
    }

    /// The slot that a passphrase opens; none where it opens none.
    pub fn opens(&self, passphrase: &Secret) -> Result<Option<String>, LuksError> {
        // A token could open it in the passphrase's place: none is of this type.
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
            .map_err(|source| self.failed("trying a passphrase", source))?;
        match tried.status.code() {
            Some(0) => slot(&tried).map(Some),
            Some(OPENS_NOTHING) => Ok(None),
            _ => Err(LuksError::Answer { said: tried.stderr }),
        }
    }

    /// Lets `new` open the volume, and `old` no longer.
    pub fn change(&self, old: &Secret, new: &Secret) -> Result<Change, LuksError> {
        let change = match (self.opens(old)?, self.opens(new)?) {
            (None, None) => return Err(LuksError::Neither { volume: self.shown() }),
            (None, Some(_)) => return Ok(Change::DoneAlready),
            // They are one and the same.
            (Some(old), Some(new)) if old == new => return Ok(Change::DoneAlready),
            (Some(_), Some(_)) => Change::Completed,
            (Some(slot), None) => {
                self.add(old, new, &slot)?;
                if self.opens(new)?.is_none() {
                    return Err(LuksError::Unproven { volume: self.shown() });
                }
                Change::Made
            }
        };
        for _ in 0..SLOTS {
            self.remove(old)?;
            if self.opens(old)?.is_none() {
                return match self.opens(new)? {
                    Some(_) => Ok(change),
                    None => Err(LuksError::Unproven { volume: self.shown() }),
                };
            }
        }
        Err(LuksError::Remains { volume: self.shown() })
    }

    /// A slot for `new`, derived as that of `old` is: a boot loader may read no other kind.
    fn add(&self, old: &Secret, new: &Secret, slot: &str) -> Result<(), LuksError> {
        crash_points::disk("the new passphrase gets a slot");
        let kdf = self.metadata.as_ref().and_then(|metadata| metadata.keyslots.get(slot));
        let options = kdf.and_then(|slot| slot.kdf.as_ref()).map(Kdf::options).unwrap_or_default();
        let words = ["env", "LC_ALL=C", "bash", "-c", ADD, "bash", &self.volume.device];
        let words: Vec<&str> =
            words.into_iter().chain(options.iter().map(String::as_str)).collect();
        let lines = [old.expose(), b"\n", new.expose(), b"\n"].concat();
        self.session
            .root(&words)
            .stdin(Secret::new(lines))
            .run()
            .map(drop)
            .map_err(|source| self.failed("giving the new passphrase a slot", source))
    }

    /// Only where another passphrase has proven itself: cryptsetup would take the last one.
    fn remove(&self, old: &Secret) -> Result<(), LuksError> {
        crash_points::disk("the old passphrase loses its slot");
        self.cryptsetup(&["luksRemoveKey", "--batch-mode", "--key-file", "-"])
            .stdin(old.clone())
            .run()
            .map(drop)
            .map_err(|source| self.failed("taking the old passphrase's slot", source))
    }

    fn cryptsetup(&self, words: &[&str]) -> Cmd {
        let program = ["env", "LC_ALL=C", "cryptsetup"];
        self.session.root(&[&program[..], words, &[self.volume.device.as_str()]].concat())
    }

    fn shown(&self) -> String {
        self.volume.shown().to_owned()
    }

    fn failed(&self, doing: &str, source: ExecError) -> LuksError {
        if source.code() == Some(127) {
            return LuksError::NoCryptsetup;
        }
        LuksError::Cryptsetup { doing: format!("{doing} of {}", self.volume.device), source }
    }
}

/// The number in `Key slot 0 unlocked.`
fn slot(output: &Output) -> Result<String, LuksError> {
    let said = output.text();
    let number = said
        .lines()
        .find_map(|line| line.strip_prefix("Key slot ")?.strip_suffix(" unlocked."))
        .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    number.map(str::to_owned).ok_or(LuksError::Answer { said })
}

/// The JSON of a LUKS2 header, as far as it is needed (LUKS2 On-Disk Format, 3.2).
#[derive(Debug, Deserialize)]
struct Metadata {
    keyslots: BTreeMap<String, Keyslot>,
}

#[derive(Debug, Deserialize)]
struct Keyslot {
    /// A slot of a re-encryption has none.
    kdf: Option<Kdf>,
}

/// How a key follows from a passphrase.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Kdf {
    Pbkdf2 { hash: String, iterations: u64 },
    Argon2i(Argon2),
    Argon2id(Argon2),
}

#[derive(Debug, Deserialize)]
struct Argon2 {
    time: u64,
    /// KiB
    memory: u64,
    cpus: u64,
}

impl Kdf {
    /// The options with which cryptsetup derives another key at the same cost.
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
        let shown: Vec<&str> = found.iter().map(Volume::shown).collect();
        assert_eq!(shown, ["crypted", "/dev/vda3"]);
        assert_eq!(found[0].device, "/dev/vda2");
    }

    #[test]
    fn another_slot_costs_what_the_first_one_does() {
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
