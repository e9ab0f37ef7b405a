//! Ways to the machine: what runs on it, who may log in, where it answers.

use anyhow::Result;

use crate::journey::operator::Operator;
use crate::journey::repos::Repos;
use crate::journey::scenario::{Begins, Ends, Scenario, Way};
use crate::vm::Firmware;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "kexec",
            shows: "a Debian on the disk makes way for the installer by kexec",
            begins: Begins::Debian,
            edits: vec![with_kexec_image],
            ..Scenario::staged()
        },
        Scenario {
            name: "user-and-port",
            shows: "an installer that lets only the user nixos in, another port after it",
            way: Way { user: "nixos", keyed: "nixos", moves_to: Some(PORT), ..Way::ROOT },
            edits: vec![open_to_nixos_alone, listen_elsewhere],
            ..Scenario::staged()
        },
        Scenario {
            name: "password-and-jump",
            shows: "a password opens the installer, through a second sshd",
            way: Way { password: Some(PASSWORD), keyed: "nixos", jump: true, ..Way::ROOT },
            edits: vec![open_to_nixos_alone, open_to_a_password],
            ..Scenario::staged()
        },
        Scenario {
            name: "sudo-with-password",
            shows: "a user of the installer who becomes root with a password alone",
            way: Way { user: "nixos", keyed: "nixos", sudo: Some(PASSWORD), ..Way::ROOT },
            edits: vec![open_to_nixos_alone, sudo_asks],
            ..Scenario::staged()
        },
        Scenario {
            name: "stick-first",
            shows: "the firmware would start the installer again at every reboot: BootNext",
            medium_first: true,
            ..Scenario::staged()
        },
        Scenario {
            name: "stick-again",
            shows: "a BIOS, which cannot be told, starts the installer again after the reboot",
            medium_first: true,
            firmware: Firmware::Bios,
            ends: Ends::Saying(vec![
                "✗ reboot",
                "shows another host key than the expected one",
                r"the\s+firmware\s+has\s+started\s+the\s+stick\s+again",
                r"Nothing\s+was\s+sent\s+to\s+it",
            ]),
            ..Scenario::staged()
        },
    ]
}

/// Where the installed system listens in a journey in which that is not port 22.
const PORT: u16 = 42_022;
/// Of whoever logs in to the installer.
const PASSWORD: &str = "the password of an installer";
const ISO: &str = "nixos-installer/iso/default.nix";

/// As the official images are: root logs in at the console alone.
fn open_to_nixos_alone(repos: &Repos, _: &Operator) -> Result<()> {
    repos.replace(ISO, "users.users.root.openssh", "users.users.nixos.openssh")
}

fn open_to_a_password(repos: &Repos, _: &Operator) -> Result<()> {
    let root = format!("users.users.root.password = \"{PASSWORD}\";");
    repos.replace(
        ISO,
        "  services.openssh.settings.PermitRootLogin = \"prohibit-password\";\n",
        &format!(
            "  {root}\n  services.openssh.settings = {{\n    PermitRootLogin = \"yes\";\n    \
             PasswordAuthentication = lib.mkForce true;\n  }};\n"
        ),
    )
}

fn sudo_asks(repos: &Repos, _: &Operator) -> Result<()> {
    let hostname = "  networking.hostName = \"installer\";\n";
    repos.replace(
        ISO,
        hostname,
        &format!(
            "{hostname}  security.sudo.wheelNeedsPassword = lib.mkForce true;\n  \
             users.users.nixos.initialHashedPassword = lib.mkForce null;\n  \
             users.users.nixos.password = \"{PASSWORD}\";\n"
        ),
    )
}

fn listen_elsewhere(repos: &Repos, _: &Operator) -> Result<()> {
    let ports = format!("services.openssh.ports = [ {PORT} ];");
    repos.add_to_host(&ports)?;
    let minimal = "nixos-installer/minimal-configuration.nix";
    let before = "  services.openssh.settings.PermitRootLogin";
    repos.replace(minimal, before, &format!("  {ports}\n{before}"))
}

/// The installer flake makes the tarball as well, and landfall.toml names it.
pub fn with_kexec_image(repos: &Repos, _: &Operator) -> Result<()> {
    let flake = "nixos-installer/flake.nix";
    repos.replace(flake, "    disko = {", &format!("{INPUT}\n    disko = {{"))?;
    repos.replace(flake, "      disko,\n", "      disko,\n      nixos-images,\n")?;
    repos.replace(flake, "        iso = lib.nixosSystem {", SYSTEM)?;
    let settings = "kexec = \"nixosConfigurations.kexec.config.system.build.kexecTarball\"\n";
    Ok(std::fs::write(repos.config.join("landfall.toml"), settings)?)
}

const INPUT: &str = "    nixos-images = {
      url = \"github:nix-community/nixos-images\";
      inputs.nixpkgs.follows = \"nixpkgs\";
    };
";

const SYSTEM: &str = "        kexec = lib.nixosSystem {
          modules = [
            nixos-images.nixosModules.kexec-installer
            { nixpkgs.hostPlatform = \"x86_64-linux\"; }
          ];
        };
        iso = lib.nixosSystem {";
