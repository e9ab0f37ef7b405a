//! What disko reads while it formats, and what asks for a passphrase at boot.
//!
//! Every file that its scripts read is one of [`HostFacts::disk_secrets`], which landfall
//! brings; everything that they would ask, or read where nothing can be brought, is one of
//! [`HostFacts::unreadable`], which `check` refuses. There is no third kind.

use serde::Deserialize;

use super::{HostFacts, InitrdSecret, is_device, outlasts_boots};

/// A LUKS volume of the layout, wherever in it that is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LuksVolume {
    pub(crate) name: String,
    /// File from which disko reads the passphrase while it formats.
    pub(crate) password_file: Option<String>,
    /// `settings.keyFile`: what disko opens it with in place of a passphrase, and the
    /// initrd, where it unlocks.
    pub(crate) key_file: Option<String>,
    /// `keyFile`, disko's former name of a file for the time of formatting.
    #[serde(default)]
    pub(crate) old_key_file: Option<String>,
    /// Files that disko adds as further keys.
    pub(crate) additional_key_files: Vec<String>,
    pub(crate) ask_password: bool,
    /// Whether the initrd opens it, as opposed to the running system.
    pub(crate) initrd_unlock: bool,
    /// How much is read of a key file, as `OFFSET+SIZE`; all of it where nothing is said.
    #[serde(default)]
    pub(crate) key_bytes: Option<String>,
    /// Whether the arguments for cryptsetup name a key file, too.
    #[serde(default)]
    pub(crate) arguments_name_key: bool,
    /// Whether it lies on a disk that stays as it is.
    #[serde(default)]
    pub(crate) kept: bool,
}

/// A pool or dataset of ZFS with a key of its own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ZfsKey {
    /// `pool`, or `pool/dataset`.
    pub(crate) name: String,
    /// `passphrase`, `hex` or `raw`.
    pub(crate) key_format: Option<String>,
    /// `prompt`, or where it is read.
    pub(crate) key_location: String,
    /// Whether a hook of the pool sets `keylocation=prompt` once it is made.
    pub(crate) prompts_later: bool,
    pub(crate) kept: bool,
}

/// An encrypted file system of bcachefs, or one that is not.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bcachefs {
    pub(crate) name: String,
    pub(crate) password_file: Option<String>,
    /// Whether it is encrypted with a passphrase that no file gives.
    pub(crate) asks: bool,
    pub(crate) kept: bool,
}

/// A file that disko's scripts read on the installer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSecret {
    pub path: String,
    /// Those that it opens.
    pub(crate) volumes: Vec<String>,
    pub kind: SecretKind,
    /// Whether a person types it at each boot.
    pub typed: bool,
    /// Where the installed system reads it.
    pub installed: Vec<String>,
    /// Whether it opens what is there already.
    pub kept: bool,
}

/// What a file for disko holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretKind {
    /// What a person knows.
    Passphrase(PassphraseRules),
    /// Random text of at least so many bytes.
    KeyText(usize),
    /// 32 random bytes as hexadecimal digits.
    Hex,
    /// 32 random bytes.
    Raw,
}

/// Who decides what a passphrase may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassphraseRules {
    Any,
    /// ZFS wants 8 characters at least.
    Zfs,
}

/// A key file of a volume that nobody types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// Where disko reads it on the installer.
    pub(crate) path: String,
    /// Where the installed system reads it; none when it does not.
    pub(crate) installed: Vec<String>,
}

/// What opens a LUKS volume while disko formats.
pub(super) enum Opener<'a> {
    Passphrase(&'a str),
    KeyFile(&'a str),
    /// A key on a stick, which is there already.
    Device,
    /// A person whom nobody would hear.
    Terminal,
}

/// Random bytes as text that a key file of LUKS holds, where more is not asked for.
const KEY_TEXT_BYTES: usize = 4096;

impl HostFacts {
    /// All LUKS volumes of the layout.
    pub(crate) fn luks(&self) -> impl Iterator<Item = &LuksVolume> {
        self.luks_volumes.iter()
    }

    /// Whether something of the layout is encrypted.
    pub(crate) fn encrypts(&self) -> bool {
        self.luks().next().is_some()
            || !self.zfs_keys.is_empty()
            || self.bcachefs.iter().any(|fs| fs.password_file.is_some() || fs.asks)
    }

    /// Whether a person must type a passphrase at each boot.
    pub(crate) fn passphrase_at_boot(&self) -> bool {
        !self.typed_at_boot().is_empty()
    }

    /// The volumes whose passphrase a person types at each boot.
    pub fn typed_at_boot(&self) -> Vec<&str> {
        let luks = self.luks().filter(|volume| self.is_typed_at_boot(volume));
        let zfs = self.zfs_keys.iter().filter(|key| self.zfs_is_typed(key));
        let bcachefs = self.bcachefs.iter().filter(|fs| fs.password_file.is_some() || fs.asks);
        luks.map(|volume| volume.name.as_str())
            .chain(zfs.map(|key| key.name.as_str()))
            .chain(bcachefs.map(|fs| fs.name.as_str()))
            .collect()
    }

    /// Whether the initrd, or the running system after it, asks a person for the passphrase
    /// of a volume.
    pub(crate) fn is_typed_at_boot(&self, volume: &LuksVolume) -> bool {
        if !volume.initrd_unlock {
            return self.crypttab_asks(&volume.name);
        }
        let on_a_device = volume.key_file.as_deref().is_some_and(is_device);
        self.boot_key_file(volume).is_none() && !on_a_device
    }

    pub(super) fn zfs_is_typed(&self, key: &ZfsKey) -> bool {
        key.is_passphrase() && (key.prompts_later || key.key_location == "prompt")
    }

    /// The file in the initrd that opens a volume there.
    fn boot_key_file<'a>(&'a self, volume: &'a LuksVolume) -> Option<&'a InitrdSecret> {
        let file = volume.key_file.as_ref().filter(|_| volume.initrd_unlock)?;
        self.initrd_secrets.iter().find(|secret| secret.path == *file)
    }

    /// What opens a volume while disko formats, by the precedence that disko has.
    ///
    /// A `settings.keyFile` of a volume that the initrd opens, without a
    /// `boot.initrd.secrets` that brings it there, is a passphrase under another name:
    /// at boot the file is missing, and the passphrase is asked for.
    pub(super) fn opener<'a>(&self, volume: &'a LuksVolume) -> Opener<'a> {
        let files = (&volume.key_file, &volume.password_file, &volume.old_key_file);
        match files {
            _ if volume.ask_password => Opener::Terminal,
            (Some(file), ..) if is_device(file) => Opener::Device,
            (Some(file), ..) if self.is_typed_at_boot(volume) => Opener::Passphrase(file),
            (Some(file), ..) => Opener::KeyFile(file),
            (None, Some(file), _) | (None, None, Some(file)) => Opener::Passphrase(file),
            (None, None, None) => Opener::Terminal,
        }
    }

    /// Where disko reads the passphrase of a volume that a person opens.
    pub(crate) fn passphrase_file<'a>(&self, volume: &'a LuksVolume) -> Option<&'a str> {
        match self.opener(volume) {
            Opener::Passphrase(file) => Some(file),
            _ => None,
        }
    }

    /// The key files of a volume that nobody types, with the places where the installed
    /// system reads them.
    pub(crate) fn key_files(&self, volume: &LuksVolume) -> Vec<KeyFile> {
        let opener = match self.opener(volume) {
            Opener::KeyFile(file) => Some(file),
            _ => None,
        };
        let further = volume.additional_key_files.iter().map(String::as_str);
        // What is a device is there already: a key on a stick.
        let further = further.filter(|file| !is_device(file));
        let further = further.filter(|file| Some(*file) != self.passphrase_file(volume));
        let mut files: Vec<KeyFile> = Vec::new();
        for path in opener.into_iter().chain(further) {
            if !files.iter().any(|known| known.path == *path) {
                files.push(KeyFile { path: path.to_owned(), installed: self.installed_at(path) });
            }
        }
        // The layout's name of the file may be one for the time of formatting.
        if let Some(read) = self.crypttab_key_file(&volume.name)
            && !files.iter().any(|file| file.installed.iter().any(|place| place == read))
            && let Some(first) = files.first_mut()
        {
            first.installed.push(read.to_owned());
        }
        files
    }

    /// Where the installed system has the key file that disko reads at `path`.
    pub(crate) fn installed_at(&self, path: &str) -> Vec<String> {
        let brought = self.initrd_secrets.iter().filter(|secret| secret.path == path);
        let mut installed: Vec<String> = brought.map(|secret| secret.source.clone()).collect();
        if installed.is_empty() && outlasts_boots(path) {
            installed.push(path.to_owned());
        }
        installed
    }

    /// The words of a volume's line in /etc/crypttab, after its name.
    fn crypttab_line(&self, volume: &str) -> Option<impl Iterator<Item = &str>> {
        let lines = self.crypttab.as_deref().unwrap_or_default().lines();
        let mut lines = lines.map(|line| line.split_ascii_whitespace());
        let mut fields = lines.find(|fields| fields.clone().next() == Some(volume))?;
        fields.next();
        Some(fields)
    }

    /// The key file with which /etc/crypttab opens a volume.
    pub(crate) fn crypttab_key_file(&self, volume: &str) -> Option<&str> {
        self.crypttab_line(volume)?.nth(1).filter(|file| file.starts_with('/'))
    }

    /// Whether /etc/crypttab opens a volume with what a person types.
    fn crypttab_asks(&self, volume: &str) -> bool {
        let Some(mut fields) = self.crypttab_line(volume) else { return false };
        let key = fields.nth(1).unwrap_or("none");
        let options = fields.next().unwrap_or_default();
        let waits = !options.split(',').any(|option| option == "noauto" || option == "nofail");
        ["none", "-"].contains(&key) && waits
    }

    /// Every file that disko's scripts read, once each.
    pub fn disk_secrets(&self) -> Vec<DiskSecret> {
        let mut secrets = Secrets::default();
        for volume in self.luks() {
            if let Some(path) = self.passphrase_file(volume) {
                let typed = self.is_typed_at_boot(volume);
                let kind = SecretKind::Passphrase(PassphraseRules::Any);
                secrets.add(path, &volume.name, volume.kept, kind).typed |= typed;
            }
            for KeyFile { path, installed } in self.key_files(volume) {
                let kind = SecretKind::KeyText(volume.key_text_bytes());
                secrets.add(&path, &volume.name, volume.kept, kind).installed.extend(installed);
            }
        }
        for key in &self.zfs_keys {
            let Some(path) = key.file() else { continue };
            let typed = self.zfs_is_typed(key);
            let installed = if typed { Vec::new() } else { self.installed_at(path) };
            let kind = match key.key_format.as_deref() {
                Some("raw") => SecretKind::Raw,
                Some("hex") => SecretKind::Hex,
                _ if typed => SecretKind::Passphrase(PassphraseRules::Zfs),
                _ => SecretKind::Hex,
            };
            let secret = secrets.add(path, &key.name, key.kept, kind);
            secret.typed |= typed;
            secret.installed.extend(installed);
        }
        for fs in &self.bcachefs {
            let Some(path) = &fs.password_file else { continue };
            let kind = SecretKind::Passphrase(PassphraseRules::Any);
            secrets.add(path, &fs.name, fs.kept, kind).typed = true;
        }
        // What is a device is there already: a key on a stick.
        secrets.0.retain(|secret| !is_device(&secret.path));
        secrets.0
    }
}

impl LuksVolume {
    fn key_text_bytes(&self) -> usize {
        let parts = self.key_bytes.as_deref().unwrap_or_default().split('+');
        let wanted: usize = parts.filter_map(|part| part.parse::<usize>().ok()).sum();
        wanted.max(KEY_TEXT_BYTES)
    }
}

impl ZfsKey {
    pub(super) fn is_passphrase(&self) -> bool {
        !["raw", "hex"].map(Some).contains(&self.key_format.as_deref())
    }

    /// The file that is read for it.
    pub(crate) fn file(&self) -> Option<&str> {
        self.key_location.strip_prefix("file://").filter(|path| path.starts_with('/'))
    }
}

/// Files by their paths: what several volumes read is one file.
#[derive(Default)]
struct Secrets(Vec<DiskSecret>);

impl Secrets {
    fn add(&mut self, path: &str, volume: &str, kept: bool, kind: SecretKind) -> &mut DiskSecret {
        let known = self.0.iter().position(|secret| secret.path == path);
        let index = known.unwrap_or_else(|| {
            self.0.push(DiskSecret {
                path: path.to_owned(),
                volumes: Vec::new(),
                kind: kind.clone(),
                typed: false,
                installed: Vec::new(),
                kept: false,
            });
            self.0.len() - 1
        });
        let secret = &mut self.0[index];
        secret.kind = secret.kind.clone().with(kind);
        secret.kept |= kept;
        if !secret.volumes.iter().any(|known| known == volume) {
            secret.volumes.push(volume.to_owned());
        }
        secret
    }
}

impl SecretKind {
    /// What serves both readers of a file: a passphrase where one of them has a person.
    fn with(self, other: Self) -> Self {
        use SecretKind::{Hex, KeyText, Passphrase, Raw};
        match (self, other) {
            (Passphrase(PassphraseRules::Any), Passphrase(rules)) => Passphrase(rules),
            (Passphrase(rules), _) | (_, Passphrase(rules)) => Passphrase(rules),
            (KeyText(one), KeyText(other)) => KeyText(one.max(other)),
            (Raw, _) | (_, Raw) => Raw,
            (Hex, _) | (_, Hex) => Hex,
        }
    }
}
