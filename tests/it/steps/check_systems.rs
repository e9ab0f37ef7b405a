//! `check` looks at both systems, the one that is installed first and the full one: what is
//! wrong with either is found, and said of it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::common::installer::{DEVICE, Installer, SERIAL};
use crate::common::journey::{HOST, Journey, Ran, run};
use crate::common::{have, skipped, sshd};

const USAGE: i32 = 2;
const FIRST: &str = "(in the configuration that is installed first)";
const FULL: &str = "(in the full configuration)";
const BOTH: &str = "(in both configurations)";

/// A flake with one system of bare values, changed by EXTRA.
const FLAKE: &str = r#"{
  outputs = { self }:
    let
      merge = a: b: a // builtins.mapAttrs (name: value:
        if builtins.isAttrs value && builtins.isAttrs (a.${name} or null)
        then merge a.${name} value else value) b;
      drv = name: { type = "derivation"; inherit name; };
      base = {
        boot = { initrd = { secrets = { }; }; loader.systemd-boot.enable = true; };
        networking.hostName = "guppy";
        nixpkgs.hostPlatform.system = "x86_64-linux";
        system.build = { toplevel = drv "system"; diskoScript = drv "disko"; mountScript = drv "mount"; };
        disko.devices.disk.main = {
          device = "@device@";
          content.type = "gpt";
          content.partitions.root.content = { type = "filesystem"; mountpoint = "/"; };
        };
        fileSystems."/" = { mountPoint = "/"; fsType = "ext4"; };
        services.openssh = {
          enable = true;
          hostKeys = [ { path = "/etc/ssh/ssh_host_ed25519_key"; type = "ed25519"; } ];
        };
        programs.git.enable = true;
        users.users = {
          root = { };
          alice = {
            name = "alice"; home = "/home/alice"; isNormalUser = true;
            openssh.authorizedKeys.keys = [ "key" ];
          };
        };
      };
    in
    { nixosConfigurations.guppy.config = merge base { @extra@ }; };
}
"#;

/// A repository with both flakes, and a target.
struct Bare {
    root: TempDir,
    target: Installer,
}

impl Bare {
    fn new() -> Option<Self> {
        if !["nix", "git", "unshare"].into_iter().all(have) {
            return None;
        }
        if !sshd::is_root() {
            skipped("the sandbox of the target needs root");
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        for dir in ["home", "tmp", "config/nixos-installer"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let gitconfig = "[user]\n\tname = T\n\temail = t@example.org\n";
        fs::write(root.path().join("home/.gitconfig"), gitconfig).unwrap();
        let target = Installer::start(&root.path().join("target"));
        let bare = Self { root, target };
        let config = bare.config();
        fs::write(config.join("landfall.toml"), "hardware = \"hardware.nix\"\n").unwrap();
        fs::write(config.join("hardware.nix"), "{ }\n").unwrap();
        let remote = bare.root.path().join("remote").display().to_string();
        bare.git(&["init", "-q", "-b", "main"]);
        bare.git(&["init", "-q", "--bare", "-b", "main", &remote]);
        bare.git(&["remote", "add", "origin", &remote]);
        bare.systems("", "");
        bare.git(&["push", "-q", "-u", "origin", "main"]);
        Some(bare)
    }

    fn config(&self) -> PathBuf {
        self.root.path().join("config")
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let kept = |name: &str| name.starts_with("NIX_") || name == "LANDFALL_LAB_CACHE";
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| kept(name)))
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.root.path().join("home"))
            .env("TMPDIR", self.root.path().join("tmp"))
            .current_dir(self.config());
        command
    }

    fn git(&self, args: &[&str]) {
        run(self.command("git").args(args)).succeeds();
    }

    /// Both systems, each with what it has beside the other.
    fn systems(&self, first: &str, full: &str) {
        let flake = FLAKE.replace("@device@", DEVICE);
        for (place, extra) in [("nixos-installer/flake.nix", first), ("flake.nix", full)] {
            let file = self.config().join(place);
            fs::write(file, flake.replace("@extra@", extra)).unwrap();
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "Systems"]);
    }

    fn check(&self, words: &[&str]) -> Ran {
        let mut landfall = self.command(assert_cmd::cargo::cargo_bin!("landfall"));
        landfall.args(["check", HOST, &format!("root@127.0.0.1:{}", self.target.sshd.port), "-i"]);
        landfall.arg(&self.target.sshd.user_key);
        landfall.args(["--yes", "--erase", SERIAL, "--installer-fingerprint"]);
        landfall.arg(self.target.sshd.host_key.fingerprint());
        run(landfall.args(words))
    }
}

/// What is wrong with a system, and how that is said.
const WRONG: [(&str, &[&str]); 2] = [
    (
        r#"
        boot.lanzaboote.enable = true;
        boot.initrd.secrets."/unlock" = "/etc/unlock";
        users.users.alice.openssh.authorizedKeys.keys = [ ];
        assertions = [ { assertion = true; message = "fine"; } { assertion = false; message = "an odd thing"; } ];
        fileSystems."/".fsType = "tmpfs";
        "#,
        &[
            "lanzaboote will have no keys to sign with",
            "the boot loader will look for files that nothing puts there",
            "alice has no SSH key",
            "an assertion of NixOS fails: the system would not build",
            "the first boot would take the host key away",
        ],
    ),
    (
        r#"
        boot.loader = { systemd-boot.enable = false; grub.enable = true; grub.devices = [ "/dev/x" ]; };
        nixpkgs.hostPlatform.system = "aarch64-linux";
        services.openssh = { enable = false; hostKeys = [ { path = "/run/secrets/key"; type = "ed25519"; } ]; };
        disko.devices.disk.main.content.partitions.root.content = { type = "luks"; name = "other"; passwordFile = "/tmp/p"; };
        environment.etc.crypttab.text = "other /dev/x /etc/other.key";
        "#,
        &[
            "GRUB would be there for BIOS alone, and the target was started by UEFI",
            "the configuration is for aarch64-linux, the target is x86_64-linux",
            "the host key is a secret itself",
            "the configuration has no SSH server",
            "nothing makes /etc/other.key, with which other is opened",
        ],
    ),
];

#[test]
fn what_is_wrong_with_one_system_is_found_and_said_of_it() {
    let Some(bare) = Bare::new() else { return };
    bare.check(&[]).succeeds();
    for (extra, wrong) in WRONG {
        for (first, full, system) in [(extra, "", FIRST), ("", extra, FULL)] {
            bare.systems(first, full);
            let ran = bare.check(&["--luks-passphrase-command", "echo secret"]);
            let text = ran.text.split_whitespace().collect::<Vec<_>>().join(" ");
            for what in wrong {
                let said = format!("{what} {system}");
                assert!(text.contains(&said), "no {said:?} in:\n{}", ran.text);
            }
            assert_eq!(ran.code, Some(USAGE), "{}", ran.text);
        }
    }
    assert!(bare.check(&["--strategy", "direct"]).text.contains("SSH server"));
    bare.systems("services.openssh.enable = false;", "services.openssh.enable = false;");
    bare.check(&[]).ends(USAGE, &[&format!("the configuration has no SSH server {BOTH}")]);
}

#[test]
fn the_full_system_opens_what_the_first_one_formats() {
    let Some(bare) = Bare::new() else { return };
    let luks = "disko.devices.disk.main.content.partitions.root.content = { type = \"luks\"; \
                name = \"crypted\"; passwordFile = \"/tmp/p\"; };";
    bare.systems("", luks);
    let words = ["nothing formats the encrypted volume crypted", FULL, "the same layout"];
    bare.check(&[]).ends(USAGE, &words);
    bare.systems(luks, luks);
    bare.check(&["--luks-passphrase-command", "echo secret"]).succeeds();
}

#[test]
fn warnings_are_told_and_options_that_are_gone_hurt_nobody() {
    let Some(bare) = Bare::new() else { return };
    let gone = r#"
      warnings = [ "an old option" ];
      boot.initrd = { preLVMCommands = throw "removed"; postDeviceCommands = throw "removed"; };
      boot.loader.grub.enable = throw "removed";
      boot.lanzaboote = throw "removed";
      hardware.facter.reportPath = throw "removed";
      environment.persistence = throw "removed";
    "#;
    bare.systems("warnings = [ \"an odd option\" ];", gone);
    let words = [
        format!("NixOS warns: an old option {FULL}"),
        format!("NixOS warns: an odd option {FIRST}"),
    ];
    bare.check(&[]).ends(0, &words.each_ref().map(String::as_str));
    for assertions in [
        "throw \"an option\"",
        "[ { assertion = throw \"an option\"; message = \"m\"; } ]",
        "[ { assertion = false; message = throw \"an option\"; } ]",
    ] {
        bare.systems("", &format!("assertions = {assertions};"));
        bare.check(&[]).ends(USAGE, &["NixOS", FULL]);
    }
}

#[test]
fn what_nixos_refuses_is_refused_with_its_words() {
    let Some(journey) = Journey::new() else { return };
    let file = journey.config().join(format!("hosts/nixos/{HOST}/default.nix"));
    let text = fs::read_to_string(&file).unwrap();
    let body = text.trim_end().strip_suffix('}').unwrap();
    fs::write(&file, format!("{body}\n  users.users.bob = {{ }};\n}}\n")).unwrap();
    journey.commit_config("Bob");
    let words = ["assertion", "bob", "would not build", FULL];
    journey.check_refuses(USAGE, &words, |_| ());
}

#[test]
fn keys_that_come_late_are_warned_of_with_the_path_that_is_there() {
    let Some(bare) = Bare::new() else { return };
    let late = r#"
      fileSystems."/persist" = { mountPoint = "/persist"; fsType = "ext4"; neededForBoot = true; };
      environment.persistence."/persist".files = [ "/etc/ssh/ssh_host_ed25519_key" ];
      boot.initrd.postDeviceCommands = "btrfs subvolume delete /root";
      sops = {
        age.sshKeyPaths = [ "/etc/ssh/ssh_host_ed25519_key" ];
        secrets.password = { sopsFile = "/x"; };
      };
      disko.devices.disk.main.content.partitions.root.content = {
        type = "luks"; name = "crypted"; settings.keyFile = "/persist/crypted.key";
      };
    "#;
    bare.systems(late, late);
    let words = ["--no-secrets", "--luks-passphrase-command", "echo secret"];
    bare.check(&words).ends(
        0,
        &[
            "sops reads /etc/ssh/ssh_host_ed25519_key before it is put there",
            "the path that is there in time, /persist/etc/ssh/ssh_host_ed25519_key",
            "opens crypted before /persist/crypted.key is mounted",
            "boot.initrd.secrets.\"/persist/crypted.key\"",
            BOTH,
        ],
    );
    // Nothing keeps it.
    let lost = late.replace("environment.persistence", "ignored");
    bare.systems(&lost, &lost);
    let told = ["the first boot would take the host key away", "/persist/etc/ssh", BOTH];
    bare.check(&words).ends(USAGE, &told);
    // Impermanence, without anything that is seen to make the root new.
    let unclear = late.replace("btrfs subvolume delete", "true").replace(
        "\"/etc/ssh/ssh_host_ed25519_key\" ];\n      boot",
        "\"/etc/machine-id\" ];\n      boot",
    );
    bare.systems(&unclear, &unclear);
    bare.check(&words).ends(0, &["does not keep the host key, /etc/ssh/ssh_host_ed25519_key"]);
}
