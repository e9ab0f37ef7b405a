//! What a host's configuration evaluates to, as far as the journey needs it.
//!
//! One evaluation per configuration gives all of it (`facts.nix`); nothing about
//! keys, disks, users or secrets is guessed from file names.

pub(crate) mod device_override;
pub(crate) mod flake;
pub(crate) mod repository;
mod unreadable;
mod volumes;

use serde::Deserialize;

use crate::nix::StorePath;

pub(crate) use unreadable::Unreadable;
pub use volumes::{Bcachefs, DiskSecret, KeyFile, LuksVolume, PassphraseRules, SecretKind, ZfsKey};

/// The expression that turns a `nixosConfigurations.HOST` into [`HostFacts`].
pub const EXPRESSION: &str = include_str!("facts.nix");

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostFacts {
    pub(crate) host_name: String,
    /// As nix names it: `x86_64-linux`.
    pub(crate) system: String,
    /// Those attributes of `system.build` that landfall may use.
    pub(crate) builds: Vec<String>,
    pub(crate) disks: Vec<LayoutDisk>,
    /// Messages of the assertions that fail: NixOS does not build such a system.
    #[serde(default)]
    pub(crate) failed_assertions: Vec<String>,
    /// Whether an assertion cannot be evaluated; nix tells why when the system is built.
    #[serde(default)]
    pub(crate) assertions_throw: bool,
    /// What NixOS says when it builds the system.
    #[serde(default)]
    pub(crate) warnings: Vec<String>,
    #[serde(default)]
    pub(crate) luks_volumes: Vec<LuksVolume>,
    #[serde(default)]
    pub(crate) zfs_keys: Vec<ZfsKey>,
    #[serde(default)]
    pub(crate) bcachefs: Vec<Bcachefs>,
    /// Types of contents in the layout that landfall does not know.
    #[serde(default)]
    pub unknown_contents: Vec<String>,
    /// Commands of the user's own that disko's scripts run.
    #[serde(default)]
    pub(crate) layout_hooks: Vec<String>,
    pub(crate) file_systems: Vec<FileSystem>,
    /// Text of /etc/crypttab: volumes that the running system opens, not the initrd.
    pub(crate) crypttab: Option<String>,
    pub(crate) initrd_secrets: Vec<InitrdSecret>,
    /// Something in the initrd deletes or rolls back file systems.
    pub(crate) root_is_made_new: bool,
    /// What impermanence keeps elsewhere.
    pub(crate) persisted: Vec<Persisted>,
    /// The boot loader that UEFI alone can start: systemd-boot, lanzaboote.
    #[serde(default)]
    pub(crate) uefi_loader: Option<String>,
    #[serde(default)]
    pub(crate) grub: Option<Grub>,
    /// Whether somebody who logs in finds git.
    #[serde(default)]
    pub(crate) has_git: bool,
    pub(crate) ssh_enabled: bool,
    pub(crate) ssh_ports: Vec<u16>,
    pub(crate) host_keys: Vec<HostKeyFile>,
    pub(crate) initrd_host_keys: Vec<String>,
    /// Where SSH listens in the initrd, if it does.
    #[serde(default)]
    pub(crate) initrd_ssh_port: Option<u16>,
    /// Whether systemd runs in the initrd.
    #[serde(default)]
    pub(crate) initrd_systemd: bool,
    pub(crate) secrets: Vec<SecretFact>,
    pub(crate) age_key_file: Option<String>,
    pub(crate) age_ssh_key_paths: Vec<String>,
    pub(crate) gnupg_ssh_key_paths: Vec<String>,
    pub(crate) users: Vec<User>,
    pub(crate) root_keys: u32,
    /// Beyond the cache of nixos.org.
    #[serde(default)]
    pub(crate) substituters: Vec<String>,
    #[serde(default)]
    pub(crate) trusted_public_keys: Vec<String>,
    /// `hardware.facter.reportPath`, as it is in the nix store.
    #[serde(default)]
    pub(crate) facter_report: Option<String>,
    /// The PKI bundle that lanzaboote signs with and does not make by itself.
    #[serde(default)]
    pub(crate) lanzaboote_bundle: Option<String>,
}

/// `boot.loader.grub`, where it is the boot loader.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Grub {
    /// Those whose first sector gets its code for BIOS.
    pub(crate) devices: Vec<String>,
    /// Installed even where there is no room for it.
    pub(crate) forced: bool,
    /// Whether UEFI can start it.
    pub(crate) uefi: bool,
    /// Whether UEFI firmware looks where it is, or is told of it.
    pub(crate) uefi_finds: bool,
}

/// A disk of the disko layout.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct LayoutDisk {
    pub(crate) name: String,
    /// Device path, as the configuration spells it.
    pub(crate) device: String,
    /// What the layout itself says, where `--disk` says otherwise; empty when it says nothing.
    #[serde(default)]
    pub(crate) in_layout: Option<String>,
    /// Whether disko erases it first; otherwise it makes what is missing on it, no more.
    #[serde(default = "destroyed")]
    pub(crate) destroy: bool,
    /// Whether it has a partition for GRUB's code for BIOS; none where it has no GPT.
    #[serde(default, rename = "biosBoot")]
    pub(crate) bios_boot: Option<bool>,
}

/// An element of `boot.initrd.secrets`: a file that the boot loader's installation puts
/// into the initrd.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct InitrdSecret {
    /// In the initrd.
    pub(crate) path: String,
    /// On the installed system.
    pub(crate) source: String,
}

/// A file or folder that is kept below a folder that outlasts boots.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Persisted {
    /// The folder: `/persist`.
    pub(crate) storage: String,
    /// Where it appears.
    pub(crate) path: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileSystem {
    pub(crate) mount_point: String,
    pub(crate) fs_type: String,
    pub(crate) needed_for_boot: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct HostKeyFile {
    pub(crate) path: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// An element of `sops.secrets`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretFact {
    pub(crate) name: String,
    /// Absolute; usually below a flake source in the nix store.
    pub(crate) sops_file: String,
    pub(crate) key: String,
    pub(crate) format: String,
    /// Where the decrypted secret appears on the host.
    pub(crate) path: String,
    pub(crate) needed_for_users: bool,
}

/// A normal user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) home: String,
    pub(crate) groups: Vec<String>,
    /// Number of authorized SSH keys.
    pub(crate) keys: u32,
    /// home-manager's sops, where the user has it.
    #[serde(default)]
    pub(crate) sops: Option<HomeSops>,
}

/// `home-manager.users.USER.sops`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HomeSops {
    pub(crate) key_file: Option<String>,
    pub(crate) ssh_key_paths: Vec<String>,
    pub(crate) secrets: Vec<SecretFact>,
}

impl HostFacts {
    /// Where `path` lies once it is installed: below the folder that keeps it, if one does.
    pub(crate) fn stored_at(&self, path: &str) -> String {
        let within = |kept: &&Persisted| std::path::Path::new(path).starts_with(&kept.path);
        match self.persisted.iter().find(within) {
            Some(kept) if !path.starts_with(&kept.storage) => format!("{}{path}", kept.storage),
            _ => path.to_owned(),
        }
    }

    /// Whether what lies at `path` is still there after a boot.
    pub(crate) fn keeps(&self, path: &str) -> bool {
        let Some(fs) = self.file_system_of(path) else { return true };
        let memory = ["tmpfs", "ramfs"].contains(&fs.fs_type.as_str());
        let emptied = memory
            || (fs.mount_point == "/" && (self.root_is_made_new || !self.persisted.is_empty()));
        !emptied || self.stored_at(path) != path
    }

    /// Whether what lies at `path` is gone after a boot for certain. Where impermanence is in
    /// use, something that is not seen here may make the root new.
    pub(crate) fn loses(&self, path: &str) -> bool {
        let memory = |fs: &FileSystem| ["tmpfs", "ramfs"].contains(&fs.fs_type.as_str());
        let seen = self.root_is_made_new || self.file_system_of(path).is_some_and(memory);
        seen && !self.keeps(path)
    }

    pub(crate) fn has_build(&self, name: &str) -> bool {
        self.builds.iter().any(|build| build == name)
    }

    /// Path of the ed25519 host key on the installed system.
    pub(crate) fn ed25519_host_key(&self) -> Option<&str> {
        self.host_keys.iter().find(|key| key.kind == "ed25519").map(|key| key.path.as_str())
    }

    /// The user that the configuration makes the operator's own: the only normal
    /// user, else the only one in `wheel`.
    pub(crate) fn primary_user(&self) -> Option<&User> {
        let wheel: Vec<&User> =
            self.users.iter().filter(|user| user.groups.iter().any(|g| g == "wheel")).collect();
        match (self.users.as_slice(), wheel.as_slice()) {
            ([only], _) => Some(only),
            (_, [only]) => Some(only),
            _ => None,
        }
    }

    /// Who logs in when nobody was named: the primary user where that one has a key, else
    /// root.
    pub(crate) fn login(&self) -> &str {
        self.primary_user().filter(|user| user.keys > 0).map_or("root", |user| &user.name)
    }

    /// The mount point that holds `path` on the installed system.
    pub(crate) fn file_system_of(&self, path: &str) -> Option<&FileSystem> {
        let path = std::path::Path::new(path);
        self.file_systems
            .iter()
            .filter(|fs| path.starts_with(&fs.mount_point))
            .max_by_key(|fs| fs.mount_point.len())
    }
}

/// What disko does with a disk where nothing else is said.
fn destroyed() -> bool {
    true
}

fn is_device(path: &str) -> bool {
    path.starts_with("/dev/")
}

/// Whether a file at this path could be there after a boot at all.
fn outlasts_boots(path: &str) -> bool {
    !["/tmp/", "/run/", "/dev/", "/proc/", "/sys/"].iter().any(|dir| path.starts_with(dir))
}

/// The evaluated configurations of the host.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) full: HostFacts,
    /// The minimal system of the installer flake; staged only.
    pub(crate) minimal: Option<HostFacts>,
    /// The flake that was evaluated, where it is no host of the config repository.
    pub(crate) locked: Option<Locked>,
}

impl Facts {
    /// The system that is installed first.
    pub(crate) fn first(&self) -> &HostFacts {
        self.minimal.as_ref().unwrap_or(&self.full)
    }
}

/// The locked reference of the flake and the place of its source in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Locked {
    pub(crate) reference: String,
    pub(crate) source: StorePath,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> HostFacts {
        serde_json::from_value(serde_json::json!({
            "hostName": "guppy", "system": "x86_64-linux", "builds": ["toplevel", "diskoScript"],
            "disks": [{"name": "main", "device": "/dev/vda"}],
            "luksVolumes": [
                {"name": "crypted", "passwordFile": "/tmp/disko-password", "keyFile": null,
                 "additionalKeyFiles": [], "askPassword": false, "initrdUnlock": true}],
            "fileSystems": [
                {"mountPoint": "/", "fsType": "btrfs", "neededForBoot": false},
                {"mountPoint": "/persist", "fsType": "btrfs", "neededForBoot": true}],
            "crypttab": null, "initrdSecrets": [], "rootIsMadeNew": false, "persisted": [],
            "uefiLoader": "systemd-boot", "sshEnabled": true, "sshPorts": [22],
            "hostKeys": [{"path": "/persist/etc/ssh/ssh_host_ed25519_key", "type": "ed25519"}],
            "initrdHostKeys": [], "secrets": [], "ageKeyFile": null,
            "ageSshKeyPaths": [], "gnupgSshKeyPaths": [],
            "users": [{"name": "anna", "home": "/home/anna", "groups": ["wheel"], "keys": 1},
                      {"name": "guest", "home": "/home/guest", "groups": [], "keys": 0}],
            "rootKeys": 1
        }))
        .unwrap()
    }

    #[test]
    fn the_wheel_user_is_primary_when_there_are_several() {
        assert_eq!(facts().primary_user().map(|user| user.name.as_str()), Some("anna"));
        let mut two = facts();
        two.users[1].groups.push("wheel".into());
        assert_eq!(two.primary_user(), None);
    }

    fn second(facts: &mut HostFacts) -> &mut LuksVolume {
        let volume = LuksVolume { name: "extra".into(), ..LuksVolume::default() };
        facts.luks_volumes.push(volume);
        facts.luks_volumes.last_mut().unwrap()
    }

    #[test]
    fn a_key_file_goes_where_the_installed_system_reads_it() {
        let mut facts = facts();
        second(&mut facts).key_file = Some("/persist/extra.key".into());
        let files = |facts: &HostFacts| facts.key_files(&facts.luks_volumes[1]);
        let at = |path: &str, installed: &[&str]| {
            let installed = installed.iter().map(|place| (*place).to_owned()).collect();
            vec![KeyFile { path: path.into(), installed }]
        };
        assert_eq!(files(&facts), at("/persist/extra.key", &["/persist/extra.key"]));
        assert_eq!(facts.passphrase_file(&facts.luks_volumes[1]), None);
        facts.crypttab = Some("# c\nextra /dev/x /persist/extra.key luks\n".into());
        assert_eq!(files(&facts), at("/persist/extra.key", &["/persist/extra.key"]));
        // A name for the time of formatting, and the one that crypttab has.
        facts.luks_volumes[1].key_file = None;
        facts.luks_volumes[1].password_file = Some("/tmp/disko-password".into());
        facts.luks_volumes[1].additional_key_files = vec!["/tmp/extra.key".into()];
        assert_eq!(files(&facts), at("/tmp/extra.key", &["/persist/extra.key"]));
        let passphrase = facts.passphrase_file(&facts.luks_volumes[1]);
        assert_eq!(passphrase, Some("/tmp/disko-password"));
    }

    #[test]
    fn a_key_file_that_the_initrd_lacks_is_a_passphrase() {
        let mut facts = facts();
        let volume = &mut facts.luks_volumes[0];
        volume.password_file = None;
        volume.key_file = Some("/tmp/secret.key".into());
        assert_eq!(facts.passphrase_file(&facts.luks_volumes[0]), Some("/tmp/secret.key"));
        assert!(facts.key_files(&facts.luks_volumes[0]).is_empty());
        assert!(facts.passphrase_at_boot());
        facts.initrd_secrets.push(InitrdSecret {
            path: "/tmp/secret.key".into(),
            source: "/etc/secret.key".into(),
        });
        assert_eq!(facts.passphrase_file(&facts.luks_volumes[0]), None);
        assert!(!facts.passphrase_at_boot());
        let files = facts.key_files(&facts.luks_volumes[0]);
        assert_eq!(files[0].installed, ["/etc/secret.key"]);
    }

    #[test]
    fn a_home_is_kept_unless_the_root_is_made_new() {
        let mut facts = facts();
        let home = "/home/anna/src";
        assert!(facts.keeps(home));
        facts.root_is_made_new = true;
        assert!(!facts.keeps(home));
        assert!(facts.keeps("/persist/home"));
        facts.persisted =
            vec![Persisted { storage: "/persist".into(), path: "/home/anna/src".into() }];
        assert!(facts.keeps("/home/anna/src/nix-config"));
        assert!(!facts.keeps("/home/anna/other"));
        assert_eq!(facts.stored_at("/home/anna/src/x"), "/persist/home/anna/src/x");
        facts.root_is_made_new = false;
        facts.persisted.clear();
        facts.file_systems[0].fs_type = "tmpfs".into();
        assert!(!facts.keeps(home));
    }

    #[test]
    fn a_path_belongs_to_its_longest_mount_point() {
        let facts = facts();
        let key = facts.ed25519_host_key().unwrap();
        assert_eq!(facts.file_system_of(key).unwrap().mount_point, "/persist");
        assert_eq!(facts.file_system_of("/persistent/x").unwrap().mount_point, "/");
    }
}
