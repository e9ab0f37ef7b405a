//! What a host's configuration evaluates to, as far as the journey needs it.
//!
//! One evaluation per configuration gives all of it (`facts.nix`); nothing about
//! keys, disks, users or secrets is guessed from file names.

use serde::Deserialize;

/// The expression that turns a `nixosConfigurations.HOST` into [`HostFacts`].
pub const EXPRESSION: &str = include_str!("facts.nix");

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostFacts {
    pub host_name: String,
    /// As nix names it: `x86_64-linux`.
    pub system: String,
    /// Those attributes of `system.build` that landfall may use.
    pub builds: Vec<String>,
    pub disks: Vec<LayoutDisk>,
    pub file_systems: Vec<FileSystem>,
    pub systemd_boot: bool,
    pub ssh_enabled: bool,
    pub ssh_ports: Vec<u16>,
    pub host_keys: Vec<HostKeyFile>,
    pub initrd_host_keys: Vec<String>,
    pub secrets: Vec<SecretFact>,
    pub age_key_file: Option<String>,
    pub age_ssh_key_paths: Vec<String>,
    pub gnupg_ssh_key_paths: Vec<String>,
    pub users: Vec<User>,
    pub root_keys: u32,
    /// Beyond the cache of nixos.org.
    #[serde(default)]
    pub substituters: Vec<String>,
    #[serde(default)]
    pub trusted_public_keys: Vec<String>,
    /// `hardware.facter.reportPath`, as it is in the nix store.
    #[serde(default)]
    pub facter_report: Option<String>,
    /// Files outside of the store that go into the initrd when the boot loader is written.
    #[serde(default)]
    pub initrd_secrets: Vec<String>,
    /// The PKI bundle that lanzaboote signs with and does not make by itself.
    #[serde(default)]
    pub lanzaboote_bundle: Option<String>,
}

/// A disk of the disko layout.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LayoutDisk {
    pub name: String,
    /// Device path, as the configuration spells it.
    pub device: String,
    pub luks: Vec<LuksVolume>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LuksVolume {
    pub name: String,
    /// File from which disko reads the passphrase while it formats.
    pub password_file: Option<String>,
    /// Key file with which the installed system opens the volume.
    pub key_file: Option<String>,
    pub ask_password: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileSystem {
    pub mount_point: String,
    pub fs_type: String,
    pub needed_for_boot: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HostKeyFile {
    pub path: String,
    #[serde(rename = "type")]
    pub kind: String,
}

/// An element of `sops.secrets`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretFact {
    pub name: String,
    /// Absolute; usually below a flake source in the nix store.
    pub sops_file: String,
    pub key: String,
    pub format: String,
    /// Where the decrypted secret appears on the host.
    pub path: String,
    pub needed_for_users: bool,
}

/// A normal user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct User {
    pub name: String,
    pub home: String,
    pub groups: Vec<String>,
    /// Number of authorized SSH keys.
    pub keys: u32,
}

impl HostFacts {
    /// All LUKS volumes of the layout.
    pub fn luks(&self) -> impl Iterator<Item = &LuksVolume> {
        self.disks.iter().flat_map(|disk| &disk.luks)
    }

    /// Whether a person must type a passphrase at each boot.
    pub fn passphrase_at_boot(&self) -> bool {
        self.luks().any(|volume| volume.key_file.is_none())
    }

    pub fn has_build(&self, name: &str) -> bool {
        self.builds.iter().any(|build| build == name)
    }

    /// Path of the ed25519 host key on the installed system.
    pub fn ed25519_host_key(&self) -> Option<&str> {
        self.host_keys.iter().find(|key| key.kind == "ed25519").map(|key| key.path.as_str())
    }

    /// The user that the configuration makes the operator's own: the only normal
    /// user, else the only one in `wheel`.
    pub fn primary_user(&self) -> Option<&User> {
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
    pub fn login(&self) -> &str {
        self.primary_user().filter(|user| user.keys > 0).map_or("root", |user| &user.name)
    }

    /// The mount point that holds `path` on the installed system.
    pub fn file_system_of(&self, path: &str) -> Option<&FileSystem> {
        let path = std::path::Path::new(path);
        self.file_systems
            .iter()
            .filter(|fs| path.starts_with(&fs.mount_point))
            .max_by_key(|fs| fs.mount_point.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> HostFacts {
        serde_json::from_value(serde_json::json!({
            "hostName": "guppy", "system": "x86_64-linux", "builds": ["toplevel", "diskoScript"],
            "disks": [{"name": "main", "device": "/dev/vda", "luks": [
                {"name": "crypted", "passwordFile": "/tmp/disko-password", "keyFile": null, "askPassword": false}]}],
            "fileSystems": [
                {"mountPoint": "/", "fsType": "btrfs", "neededForBoot": false},
                {"mountPoint": "/persist", "fsType": "btrfs", "neededForBoot": true}],
            "systemdBoot": true, "sshEnabled": true, "sshPorts": [22],
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

    #[test]
    fn a_path_belongs_to_its_longest_mount_point() {
        let facts = facts();
        let key = facts.ed25519_host_key().unwrap();
        assert_eq!(facts.file_system_of(key).unwrap().mount_point, "/persist");
        assert_eq!(facts.file_system_of("/persistent/x").unwrap().mount_point, "/");
    }
}
