//! What disko's scripts would ask for, or read where landfall cannot bring it: `check`
//! refuses each by its name, with what to write into the layout.

use super::volumes::Opener;
use super::{DiskSecret, HostFacts, LuksVolume, SecretKind, ZfsKey, is_device};

/// What keeps disko's scripts from being given what they read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub what: String,
    pub why: String,
    pub hint: String,
}

impl HostFacts {
    /// What disko's scripts would ask for, or read where nothing can be brought.
    pub fn unreadable(&self) -> Vec<Unreadable> {
        let mut found: Vec<Unreadable> = Vec::new();
        found.extend(self.luks().flat_map(|volume| self.unreadable_luks(volume)));
        found.extend(self.zfs_keys.iter().filter_map(|key| self.unreadable_zfs(key)));
        let asking = self.bcachefs.iter().filter(|fs| fs.asks);
        found.extend(asking.map(|fs| {
            let place = format!("disko.devices.bcachefs_filesystems.{}", fs.name);
            asks(&fs.name, format!("Set passwordFile = \"{}\" in {place}.", file_for(&fs.name)))
        }));
        for secret in self.disk_secrets() {
            found.extend(unreadable_path(&secret));
        }
        found
    }

    /// Files for the time of formatting that the user's own commands in disko's scripts name.
    pub(crate) fn read_by_hooks(&self) -> Vec<&str> {
        let words = self.layout_hooks.iter().flat_map(|hook| {
            hook.split(|c: char| !(c.is_ascii_alphanumeric() || "/._-+:@".contains(c)))
        });
        let mut files: Vec<&str> = words
            .filter(|word| ["/tmp/", "/run/", "/root/"].iter().any(|dir| word.starts_with(dir)))
            .map(|word| word.trim_end_matches(['.', ':', '/']))
            .filter(|word| word.matches('/').count() > 1)
            // Programs, not files for them.
            .filter(|word| !word.contains("-system/") && !word.starts_with("/run/wrappers/"))
            .collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    fn unreadable_luks(&self, volume: &LuksVolume) -> Vec<Unreadable> {
        let name = &volume.name;
        let mut found = Vec::new();
        if matches!(self.opener(volume), Opener::Terminal) {
            let hint = format!(
                "Set passwordFile = \"{}\" in its layout, and leave askPassword out.",
                file_for(name)
            );
            found.push(asks(name, hint));
        }
        if volume.arguments_name_key {
            found.push(Unreadable {
                what: format!("the arguments of cryptsetup name a key file for {name}"),
                why: "what is read there is not brought to the installer".into(),
                hint: "Name it by passwordFile, settings.keyFile or additionalKeyFiles instead of \
                       extraFormatArgs and extraOpenArgs."
                    .into(),
            });
        }
        if volume.key_bytes.is_some() && self.passphrase_file(volume).is_some() {
            found.push(Unreadable {
                what: format!("what is typed for {name} would not open it"),
                why: "settings.keyFileSize and keyFileOffset make a part of the passphrase its key"
                    .into(),
                hint: "Leave both out, or bring the file into the initrd (boot.initrd.secrets)."
                    .into(),
            });
        }
        found
    }

    fn unreadable_zfs(&self, key: &ZfsKey) -> Option<Unreadable> {
        let ZfsKey { name, key_location, .. } = key;
        let file = file_for(name);
        if key_location == "prompt" {
            return Some(asks(
                name,
                format!(
                    "Set keylocation = \"file://{file}\" in its options, and in the pool \
                     postCreateHook = \"zfs set keylocation=prompt {name}\", so that it is asked \
                     for at boot."
                ),
            ));
        }
        let Some(path) = key.file() else {
            let fetched = ["https://", "http://"].iter().any(|way| key_location.starts_with(way));
            return (!fetched).then(|| Unreadable {
                what: format!("the key of {name} is read from {key_location}"),
                why: "landfall brings files, by absolute paths".into(),
                hint: format!("Set keylocation = \"file://{file}\" in its options."),
            });
        };
        if self.zfs_is_typed(key) || !self.installed_at(path).is_empty() || is_device(path) {
            return None;
        }
        Some(Unreadable {
            what: format!("nothing would open {name} at boot"),
            why: format!("its keylocation stays {key_location}, which is gone by then"),
            hint: if key.is_passphrase() {
                format!(
                    "Set postCreateHook = \"zfs set keylocation=prompt {name}\" in the pool: then \
                     the passphrase is asked for."
                )
            } else {
                "Name a file that outlasts a boot, and bring it into the initrd \
                 (boot.initrd.secrets) where the system starts from the pool."
                    .into()
            },
        })
    }
}

/// A path that a volume's passphrase can have.
fn file_for(volume: &str) -> String {
    format!("/tmp/{}.passphrase", volume.replace('/', "-"))
}

fn asks(volume: &str, hint: String) -> Unreadable {
    Unreadable {
        what: format!("nothing gives the encrypted volume {volume} its passphrase"),
        why: "disko would ask for it on a terminal that nobody sees".into(),
        hint,
    }
}

/// Refuses places where a secret cannot be put, or must not be.
fn unreadable_path(secret: &DiskSecret) -> Option<Unreadable> {
    let DiskSecret { path, volumes, .. } = secret;
    let volumes = volumes.join(", ");
    let refuse = |why: &str| {
        Some(Unreadable {
            what: format!("the key of {volumes} cannot be brought to {path}"),
            why: why.into(),
            hint: format!("Name another file in the layout: {}", file_for(&secret.volumes[0])),
        })
    };
    if path.starts_with("/nix/store/") {
        return refuse("everybody can read what is in the nix store");
    }
    if path == "/mnt" || path.starts_with("/mnt/") {
        return refuse("the new system's file systems hide it while disko works");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@=,".contains(c);
    if !path.starts_with('/')
        || !path.chars().all(plain)
        || path.split('/').any(|part| part == "..")
    {
        return refuse("disko's scripts do not quote it");
    }
    if matches!(secret.kind, SecretKind::Passphrase(_)) && !secret.installed.is_empty() {
        return Some(Unreadable {
            what: format!("{path} is the passphrase of {volumes} and a key file as well"),
            why: "a passphrase that a person types does not lie on the disk".into(),
            hint: "Give the key file another path in the layout.".into(),
        });
    }
    None
}
