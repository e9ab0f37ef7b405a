//! The written configuration, evaluated by the real nix against the lab's inputs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{FLAGS, Home, read};
use crate::common::skipped;

/// As nixos-generate-config writes it on a virtual machine.
const HARDWARE: &str = r#"{ lib, modulesPath, ... }:
{
  imports = [ (modulesPath + "/profiles/qemu-guest.nix") ];
  boot.initrd.availableKernelModules = [ "ahci" "virtio_pci" "virtio_blk" ];
  nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
}
"#;
const FULL: &str = "nixosConfigurations.ray";
const TOPLEVEL: &str = "config.system.build.toplevel.drvPath";

/// The inputs of the lab; without them there is nothing to evaluate against.
fn lab_inputs() -> Option<PathBuf> {
    let inputs =
        std::env::var_os("LANDFALL_LAB_CACHE").map(|dir| PathBuf::from(dir).join("inputs"));
    let inputs = inputs.filter(|inputs| inputs.join("sops-nix/flake.nix").is_file());
    if inputs.is_none() {
        skipped("the lab's inputs are missing: cargo xtask lab setup");
    }
    inputs
}

/// A new nix-config whose inputs are locked to the lab's.
struct Config {
    home: Home,
}

impl Config {
    fn new(inputs: &Path, form: &[&str]) -> Self {
        let config = Self { home: Home::new() };
        config.home.init(&[&FLAGS[..], form].concat()).success();
        let hardware = "src/nix-config/hosts/nixos/ray/hardware-configuration.nix";
        fs::write(config.home.path(hardware), HARDWARE).unwrap();
        config.commit();
        config.lock("", inputs, &["nixpkgs", "disko", "sops-nix"]);
        config.lock("?dir=nixos-installer", inputs, &["nixpkgs", "disko"]);
        config.commit();
        config
    }

    fn commit(&self) {
        self.home.git("src/nix-config", &["add", "--all"]);
        self.home.git("src/nix-config", &["commit", "--quiet", "-m", "A change"]);
    }

    /// Nix with this home, and with what the lab sets for it.
    fn nix(&self, args: &[&str]) -> std::process::Command {
        let mut nix = self.home.command("nix");
        let kept = |name: &str| name.starts_with("NIX_") || name == "LANDFALL_LAB_CACHE";
        nix.envs(std::env::vars().filter(|(name, _)| kept(name))).args(args);
        nix
    }

    fn flake(&self, dir: &str) -> String {
        format!("git+file://{}{dir}", self.home.path("src/nix-config").display())
    }

    fn lock(&self, dir: &str, inputs: &Path, names: &[&str]) {
        let mut nix = self.nix(&["flake", "lock", &self.flake(dir)]);
        for name in names {
            let input = format!("path:{}", inputs.join(name).display());
            nix.args(["--override-input", name, &input]);
        }
        read(&mut nix);
    }

    fn eval(&self, dir: &str, attr: &str, apply: &str) -> Value {
        let attr = format!("{}#{attr}", self.flake(dir));
        let json = read(&mut self.nix(&["eval", "--json", &attr, "--apply", apply]));
        serde_json::from_str(&json).unwrap()
    }

    fn full(&self, attr: &str) -> Value {
        self.eval("", &format!("{FULL}.{attr}"), "x: x")
    }

    fn installer(&self, attr: &str) -> Value {
        self.eval("?dir=nixos-installer", attr, "x: x")
    }
}

fn evaluates(form: &[&str]) -> Option<Config> {
    let config = Config::new(&lab_inputs()?, form);
    let full = config.full(TOPLEVEL);
    let minimal = config.installer(&format!("{FULL}.{TOPLEVEL}"));
    assert!(full.as_str().unwrap().ends_with(".drv"), "{full}");
    assert_ne!(full, minimal);
    let keys = "config.services.openssh.hostKeys";
    assert_eq!(config.full(keys), config.installer(&format!("{FULL}.{keys}")));
    let disks = "config.fileSystems";
    let same =
        |dir| config.eval(dir, &format!("{FULL}.{disks}"), "builtins.mapAttrs (_: f: f.device)");
    assert_eq!(same(""), same("?dir=nixos-installer"));
    Some(config)
}

#[test]
fn an_unencrypted_disk() {
    let Some(config) = evaluates(&["--layout", "btrfs"]) else { return };
    assert_eq!(config.full("config.boot.initrd.luks.devices"), json!({}));
}

#[test]
fn an_ext4_disk() {
    let Some(config) = evaluates(&["--layout", "ext4"]) else { return };
    assert_eq!(config.full("config.fileSystems.\"/\".fsType"), "ext4");
}

#[test]
fn an_encrypted_disk_and_secrets() {
    let Some(config) = evaluates(&["--layout", "btrfs-luks"]) else { return };
    let root = config.full("config.fileSystems.\"/\".device");
    assert_eq!(root, "/dev/mapper/crypted");
    let password = config.full("config.users.users.anna.hashedPasswordFile");
    assert_eq!(password, "/run/secrets-for-users/passwords/anna");
    assert_eq!(config.full("config.sops.secrets.sample.owner"), "anna");
    assert_eq!(config.full("config.services.openssh.settings.PermitRootLogin"), "no");
    let minimal = config.installer(&format!("{FULL}.config.users.users.anna.hashedPassword"));
    assert_eq!(minimal, Value::Null);
}

#[test]
fn an_empty_root_keeps_the_host_key() {
    let Some(config) = evaluates(&["--layout", "btrfs-luks-impermanence"]) else { return };
    let key = "/persist/etc/ssh/ssh_host_ed25519_key";
    assert_eq!(config.full("config.sops.age.sshKeyPaths"), json!([key]));
    assert_eq!(config.full("config.fileSystems.\"/persist\".neededForBoot"), true);
}

#[test]
fn a_machine_that_a_bios_starts() {
    let Some(config) = evaluates(&["--firmware", "bios", "--disk", "/dev/sda"]) else { return };
    let loader = "config.boot.loader";
    for dir in ["", "?dir=nixos-installer"] {
        let grub = "l: [ l.systemd-boot.enable l.grub.enable l.grub.devices ]";
        let found = config.eval(dir, &format!("{FULL}.{loader}"), grub);
        assert_eq!(found, json!([false, true, ["/dev/sda"]]));
    }
}

#[test]
fn the_image_opens_to_the_operator_alone() {
    let Some(inputs) = lab_inputs() else { return };
    let config = Config::new(&inputs, &["--layout", "btrfs-luks"]);
    let image = config.installer("iso.drvPath");
    assert!(image.as_str().unwrap().contains(".iso"), "{image}");
    let sshd = config.installer("nixosConfigurations.iso.config.services.openssh.settings");
    assert_eq!(sshd["PasswordAuthentication"], false);
    assert_eq!(sshd["PermitRootLogin"], "prohibit-password");
}

/// Names of the options that files of the repository define, in one system.
const DEFINED: &str = r#"
system:
let
  inherit (system.pkgs) lib;
  walk = path: set: lib.concatLists (lib.mapAttrsToList (visit path) (removeAttrs set [ "_module" ]));
  visit = path: name: value:
    if lib.isOption value then [ { name = lib.concatStringsSep "." (path ++ [ name ]); inherit value; } ]
    else if lib.isAttrs value then walk (path ++ [ name ]) value
    else [ ];
  ours = file: lib.hasInfix "/hosts/" file || lib.hasInfix "/nixos-installer/" file;
  # Some defaults throw when they are looked at.
  defined = option:
    (builtins.tryEval (lib.any (d:
      ours (toString d.file) && !lib.hasSuffix "hardware-configuration.nix" (toString d.file)
    ) option.value.definitionsWithLocations)).value;
in
map (option: option.name) (lib.filter defined (walk [ ] system.options))
"#;

#[test]
fn the_list_of_options_is_complete() {
    let Some(inputs) = lab_inputs() else { return };
    // Of the modules that a host may import, those with the most options.
    let form = ["--layout", "btrfs-luks-impermanence", "--firmware", "bios"];
    let config = Config::new(&inputs, &form);
    let installer = "?dir=nixos-installer";
    let mut defined = BTreeSet::new();
    for (dir, attr) in [("", FULL), (installer, FULL), (installer, "nixosConfigurations.iso")] {
        let names = config.eval(dir, attr, DEFINED);
        defined.extend(names.as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_owned()));
    }
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/tests/options.txt");
    let list = fs::read_to_string(list).unwrap();
    let listed: Vec<&str> = list.lines().filter_map(|line| line.split(' ').next()).collect();
    let covers = |listed: &str, defined: &str| {
        listed == defined || listed.strip_prefix(defined).is_some_and(|rest| rest.starts_with('.'))
    };
    for name in &defined {
        assert!(listed.iter().any(|listed| covers(listed, name)), "{name} is not listed");
    }
    // `system.build` is read, not defined, by the flake's packages.
    for name in listed.iter().filter(|name| !name.starts_with("system.build.")) {
        assert!(defined.iter().any(|defined| covers(name, defined)), "{name} is not used");
    }
}
