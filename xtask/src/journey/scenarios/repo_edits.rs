//! Changes of the repositories that several journeys make.

use anyhow::{Context, Result};

use crate::journey::operator::{Operator, USER};
use crate::journey::repos::Repos;

const USERS: &str = "hosts/common/users/default.nix";
const SOPS: &str = "hosts/common/core/sops.nix";

/// Takes sops out of the configuration: no module, no input. The password's hash stands in it
/// instead.
pub(crate) fn remove_sops(repos: &Repos, operator: &Operator) -> Result<()> {
    let hash = repos.secret(operator, &format!("[\"passwords\"][\"{USER}\"]"))?;
    repos.cut("flake.nix", "    sops-nix = {", "  };\n\n  outputs")?;
    repos.cut("hosts/common/core/default.nix", "    ./sops.nix\n", "  ];")?;
    repos.cut(USERS, "\n  sops.secrets = {", "}\n")?;
    repos.replace(
        USERS,
        "hashedPasswordFile = config.sops.secrets.\"passwords/${username}\".path;",
        &format!("hashedPassword = \"{hash}\";"),
    )?;
    repos.replace(USERS, "{ config, vars, ... }", "{ vars, ... }")?;
    let sops = repos.config.join(SOPS);
    std::fs::remove_file(&sops).with_context(|| format!("cannot remove {}", sops.display()))
}

/// Opens the secrets with an age key file alone, not with the SSH host key.
pub(crate) fn use_age_key_file_alone(repos: &Repos, _: &Operator) -> Result<()> {
    repos.replace(
        SOPS,
        "  sops = {\n",
        "  sops = {\n    age.keyFile = \"/var/lib/sops-nix/key.txt\";\n    age.sshKeyPaths = [ ];\n",
    )
}

/// Opens the secrets with an age key file, or with the SSH host key.
pub(crate) fn use_age_key_file_too(repos: &Repos, _: &Operator) -> Result<()> {
    repos.replace(
        SOPS,
        "  sops = {\n",
        "  sops = {\n    age.keyFile = \"/var/lib/sops-nix/key.txt\";\n",
    )
}

/// The second disk's serial number.
pub(crate) const DATA_SERIAL: &str = "landfall-data";

/// Adds a second disk with LUKS, which the running system opens with a key file in the persist
/// folder. The layout names a device that no machine has.
pub(crate) fn add_second_disk(repos: &Repos, _: &Operator) -> Result<()> {
    repos.add_to_disks(SECOND_DISK)
}

/// Gives the initrd the host key by its boot loader, and leaves a copy of it in memory.
pub(crate) fn add_initrd_secret(repos: &Repos, _: &Operator) -> Result<()> {
    repos.add_to_disks(INITRD_SECRET)
}

const INITRD_SECRET: &str = r#"
  boot.initrd.secrets."/etc/secret" = "/etc/ssh/ssh_host_ed25519_key";
  boot.initrd.systemd.services.keep-secret = {
    description = "Show what the boot loader has brought";
    wantedBy = [ "initrd.target" ];
    before = [ "initrd.target" ];
    unitConfig.DefaultDependencies = false;
    serviceConfig.Type = "oneshot";
    script = ''
      umask 077
      cp /etc/secret /run/secret-of-the-initrd
    '';
  };
"#;

const SECOND_DISK: &str = r#"
  disko.devices.disk.data = {
    type = "disk";
    device = "/dev/disk/by-id/somewhere-else";
    content = {
      type = "gpt";
      partitions.luks = {
        size = "100%";
        content = {
          type = "luks";
          name = "data";
          initrdUnlock = false;
          settings.keyFile = "/persist/etc/luks/data.key";
          # The key is random: nothing is gained by a slow derivation.
          extraFormatArgs = [ "--pbkdf" "pbkdf2" "--pbkdf-force-iterations" "1000" ];
          content = {
            type = "filesystem";
            format = "ext4";
            mountpoint = "/data";
          };
        };
      };
    };
  };

  environment.etc.crypttab.text = ''
    data /dev/disk/by-partlabel/disk-data-luks /persist/etc/luks/data.key luks
  '';
"#;
