//! A flake with one small system, a target that takes it, and `landfall install` between
//! them. Nothing is formatted: the system's disko scripts write down what they see.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::have;
use super::installer::{Installer, SERIAL};
use super::journey::{Ran, run};
use super::{skipped, sshd};

/// The configuration; every script tells its name and what lies where it may read.
const FLAKE: &str = r##"{
  outputs = { self }:
    let
      system = "x86_64-linux";
      make = name: text: derivation {
        inherit name system text;
        builder = "/bin/sh";
        args = [ "-c" "echo building ${name}; ${text}" ];
        PATH = "/usr/bin:/bin";
      };
      script = name: mounts: make name ''
        cat > $out <<'END'
        #!/bin/sh
        echo ${name} >> "$target/ran"
        for file in /media/*; do
          [ -e "$file" ] || continue
          cp "$file" "$target/seen-$(basename "$file")"
          echo "$(stat -c %a "$file") $(basename "$file")" >> "$target/modes"
        done
        [ -z "$(cat /media/passphrase 2>/dev/null)" ] ||
          bash -c 'cat <(echo -n "$(cat /media/passphrase)")' > "$target/to-cryptsetup"
        ${if mounts then "touch \"$target/mounted\"" else ""}
        # /dev/landfall-test-1
        END
        chmod +x $out
      '';
      program = name: mounts: make name ''
        mkdir -p $out/bin
        cp ${script name mounts} $out/bin/${name}
        chmod +w $out/bin/${name}
        echo '# --yes-wipe-all-disks' >> $out/bin/${name}
      '';
      old = both (n: script n true) "diskoScript" // both (n: script n false) "formatScript"
        // both (n: script n true) "mountScript";
      both = f: base: { ${base} = f base; "${base}NoDeps" = f "${base}NoDeps"; };
      new = old // both (n: program n true) "destroyFormatMount"
        // both (n: program n false) "format" // both (n: program n true) "mount";
      host = scripts: more: {
        config = {
          boot.initrd = { };
          networking.hostName = "guppy";
          nixpkgs.hostPlatform.system = system;
          system.build = scripts // {
            toplevel = make "nixos-system-guppy-26.05" ''
              mkdir -p $out/etc/ssh $out/bin
              echo -n ${system} > $out/system
              echo 'HostKey /persist/etc/ssh/ssh_host_ed25519_key' > $out/etc/ssh/sshd_config
              cp ${self}/hardware $out/hardware 2>/dev/null || echo none > $out/hardware
            '';
            installTest = make "vm-test" "echo @unique@ > $out";
          };
          disko.devices.disk.main = {
            device = "/dev/landfall-test-1";
            content = {
              type = "luks";
              name = "crypted";
              passwordFile = "/media/passphrase";
            };
          };
          fileSystems = { "/" = { mountPoint = "/"; fsType = "btrfs"; }; "/persist" = { mountPoint = "/persist"; fsType = "btrfs"; neededForBoot = true; }; };
          services.openssh = {
            enable = true;
            hostKeys = [ { path = "/persist/etc/ssh/ssh_host_ed25519_key"; type = "ed25519"; } ];
          };
          nix.settings = {
            substituters = [ "https://cache.nixos.org/" "https://cache.example.org" ];
            trusted-public-keys = [ "cache.example.org-1:abc=" ];
          };
          users.users.root = { openssh.authorizedKeys.keys = [ "key" ]; };
        } // more;
      };
    in
    {
      nixosConfigurations = {
        guppy = host new { };
        old = host old { };
        facter = host new { hardware.facter.reportPath = ./facter.json; };
        sealed = host new { boot.initrd.secrets."/etc/unlock.key" = null; };
        signed = host new { boot = { initrd = { }; lanzaboote = { enable = true; pkiBundle = "/var/lib/sbctl"; }; }; };
        broken = { config.system.build.installTest = make "vm-test-that-fails" "exit 1"; };
      };
    };
}
"##;

const NIXOS_INSTALL: &str = r#"echo "$*" > "$target/nixos-install"
for last; do :; done
find /mnt -path /mnt/nix -prune -o -print | sort > "$target/before-boot-loader"
mkdir -p /mnt/nix/var/nix/profiles /mnt/boot/loader/entries
ln -sfn "$last" /mnt/nix/var/nix/profiles/system
echo "options init=$last/init" > /mnt/boot/loader/entries/nixos.conf"#;

const SFDISK: &str = r#"while [ $# -gt 0 ]; do
  case $1 in
    --disk-id) shift; [ -n "$2" ] && echo "$2" > "$target/disk-id"; cat "$target/disk-id"; exit ;;
  esac
  shift
done"#;

pub const PASSPHRASE: &str = "correct horse battery staple";

pub struct Plain {
    pub root: TempDir,
    pub target: Installer,
}

impl Plain {
    /// None, and said so, where something is missing.
    pub fn new() -> Option<Self> {
        if !["nix", "nix-daemon", "git", "unshare", "tar"].into_iter().all(have) {
            return None;
        }
        if !sshd::is_root() {
            skipped("the sandbox of the target needs root");
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        for dir in ["home", "flake", "tmp"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        // What was built once is not built again.
        let unique = root.path().display().to_string();
        fs::write(root.path().join("flake/flake.nix"), FLAKE.replace("@unique@", &unique)).unwrap();
        fs::write(root.path().join("home/passphrase"), PASSPHRASE).unwrap();
        let target = Installer::start(&root.path().join("target"));
        target.has_room();
        target.script("bin/nixos-install", NIXOS_INSTALL);
        target.script("bin/sfdisk", SFDISK);
        target.script("bin/nix-daemon", &nix_daemon());
        for name in ["wipefs", "mdadm", "blkid", "udevadm", "pvs", "vgchange", "zpool", "sync"] {
            target.script(&format!("bin/{name}"), "exit 0");
        }
        Some(Self { root, target })
    }

    pub fn flake(&self) -> PathBuf {
        self.root.path().join("flake")
    }

    pub fn home(&self, name: &str) -> PathBuf {
        self.root.path().join("home").join(name)
    }

    /// A file of the new system.
    pub fn new_root(&self, path: &str) -> PathBuf {
        self.target.file("mnt").join(path.trim_start_matches('/'))
    }

    /// What the target's programs wrote down; empty where they did not run.
    pub fn told(&self, name: &str) -> String {
        fs::read_to_string(self.target.file(name)).unwrap_or_default()
    }

    /// The log of the current run.
    pub fn log(&self, host: &str) -> String {
        let dir = self.home(".local/state/landfall").join(host).join("current");
        fs::read_to_string(dir.join("log")).unwrap_or_default()
    }

    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let kept = |name: &str| name.starts_with("NIX_") || name == "LANDFALL_LAB_CACHE";
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| kept(name)))
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.root.path().join("home"))
            .env("TMPDIR", self.root.path().join("tmp"))
            .current_dir(self.flake());
        command
    }

    pub fn target_word(&self) -> String {
        format!("root@127.0.0.1:{}", self.target.sshd.port)
    }

    /// `landfall install` with these words and what names target, disk and passphrase.
    pub fn install(&self, words: &[&str]) -> Ran {
        run(&mut self.install_command(words))
    }

    pub fn install_command(&self, words: &[&str]) -> Command {
        let mut command = self.command(assert_cmd::cargo::cargo_bin!("landfall"));
        command.arg("install").args(words).args(["--yes", "-i"]);
        command.arg(&self.target.sshd.user_key);
        command.args(["--installer-fingerprint", &self.target.sshd.host_key.fingerprint()]);
        command
    }

    /// The whole installation of `.#guppy`, short of the reboot, with these words too.
    pub fn until_reboot(&self, words: &[&str]) -> Ran {
        let passphrase = self.home("passphrase").display().to_string();
        let target = self.target_word();
        let fixed = [
            ".#guppy",
            &target,
            "--phases",
            "kexec,disko,install",
            "--erase",
            SERIAL,
            "--luks-passphrase-file",
            &passphrase,
        ];
        self.install(&[&fixed[..], words].concat())
    }

    /// Forgets the run and what it left on the target.
    pub fn anew(&self) {
        let _ = fs::remove_dir_all(self.home(".local"));
        for name in ["mounted", "disk-id", "ran", "modes", "nixos-install", "to-cryptsetup"] {
            let _ = fs::remove_file(self.target.file(name));
        }
        let mnt = self.target.file("mnt");
        // Store paths are read-only.
        let _ = Command::new("chmod").args(["-R", "u+w"]).arg(&mnt).status();
        fs::remove_dir_all(&mnt).unwrap();
        fs::create_dir(&mnt).unwrap();
    }
}

/// The nix of this process, for the sessions of the target.
fn nix_daemon() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::split_paths(&path)
        .map(|dir| dir.join("nix-daemon"))
        .find(|file| file.is_file())
        .unwrap_or_else(|| Path::new("nix-daemon").to_owned());
    let mut text = String::new();
    for (name, value) in std::env::vars().filter(|(name, _)| name.starts_with("NIX_")) {
        text.push_str(&format!("export {name}='{value}'\n"));
    }
    format!("{text}echo \"$*\" >> \"$target/nix-daemon\"\nexec {} \"$@\"", program.display())
}

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = Command::new("chmod").args(["-R", "u+w"]).arg(self.root.path()).status();
    }
}
