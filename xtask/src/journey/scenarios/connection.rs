//! Ways to the machine: what runs on it, who may log in, where it answers.

use anyhow::Result;

use crate::journey::operator::Operator;
use crate::journey::repos::Repos;
use crate::journey::scenario::{Ending, Scenario};
use crate::journey::setup::{Connection, InitialSystem, Setup};
use crate::vm::Firmware;

/// Lists the journeys of this subject.
pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        kexec(),
        user_and_port(),
        password_and_jump_host(),
        sudo_with_password(),
        stick_first(),
        stick_again(),
    ]
}

fn kexec() -> Scenario {
    Scenario {
        name: "kexec",
        shows: "a Debian on the disk makes way for the installer by kexec",
        setup: Setup {
            initial_system: InitialSystem::Debian,
            edits: vec![add_kexec_image],
            ..Setup::staged()
        },
        ..Scenario::staged()
    }
}

fn user_and_port() -> Scenario {
    Scenario {
        name: "user-and-port",
        shows: "an installer that lets only the user nixos in, another port after it",
        setup: Setup {
            edits: vec![let_only_nixos_in, listen_elsewhere],
            connection: Connection {
                user: "nixos",
                key_user: "nixos",
                installed_port: Some(PORT),
                ..Connection::ROOT
            },
            ..Setup::staged()
        },
        ..Scenario::staged()
    }
}

fn password_and_jump_host() -> Scenario {
    Scenario {
        name: "password-and-jump",
        shows: "a password opens the installer, through a second sshd",
        setup: Setup {
            edits: vec![let_only_nixos_in, let_root_in_by_password],
            connection: Connection {
                password: Some(PASSWORD),
                key_user: "nixos",
                through_jump_host: true,
                ..Connection::ROOT
            },
            ..Setup::staged()
        },
        ..Scenario::staged()
    }
}

fn sudo_with_password() -> Scenario {
    Scenario {
        name: "sudo-with-password",
        shows: "a user of the installer who becomes root with a password alone",
        setup: Setup {
            edits: vec![let_only_nixos_in, ask_for_sudo_password],
            connection: Connection {
                user: "nixos",
                key_user: "nixos",
                sudo_password: Some(PASSWORD),
                ..Connection::ROOT
            },
            ..Setup::staged()
        },
        ..Scenario::staged()
    }
}

fn stick_first() -> Scenario {
    Scenario {
        name: "stick-first",
        shows: "the firmware would start the installer again at every reboot: BootNext",
        setup: Setup { medium_first: true, ..Setup::staged() },
        ..Scenario::staged()
    }
}

fn stick_again() -> Scenario {
    Scenario {
        name: "stick-again",
        shows: "a BIOS, which cannot be told, starts the installer again after the reboot",
        setup: Setup { medium_first: true, firmware: Firmware::Bios, ..Setup::staged() },
        ending: Ending::Failure {
            saying: vec![
                "✗ reboot",
                "shows another host key than the expected one",
                r"the\s+firmware\s+has\s+started\s+the\s+stick\s+again",
                r"Nothing\s+was\s+sent\s+to\s+it",
            ],
        },
        ..Scenario::staged()
    }
}

/// Where the installed system listens in a journey in which that is not port 22.
const PORT: u16 = 42_022;
/// The password of whoever logs in to the installer.
const PASSWORD: &str = "the password of an installer";
const ISO: &str = "nixos-installer/iso/default.nix";

/// Lets the user nixos in by key, and nobody else, as the official images are: root logs in at
/// the console alone.
fn let_only_nixos_in(repos: &Repos, _: &Operator) -> Result<()> {
    repos.replace(ISO, "users.users.root.openssh", "users.users.nixos.openssh")
}

fn let_root_in_by_password(repos: &Repos, _: &Operator) -> Result<()> {
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

fn ask_for_sudo_password(repos: &Repos, _: &Operator) -> Result<()> {
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

/// The input of the installer flake that makes the tarball.
const INPUT: &str = "    nixos-images = {
      url = \"github:nix-community/nixos-images\";
      inputs.nixpkgs.follows = \"nixpkgs\";
    };
";

/// The system whose tarball it is, before the one of the image.
const SYSTEM: &str = "        kexec = lib.nixosSystem {
          modules = [
            nixos-images.nixosModules.kexec-installer
            { nixpkgs.hostPlatform = \"x86_64-linux\"; }
          ];
        };
        iso = lib.nixosSystem {";

/// Makes the installer flake build the tarball for kexec as well, which landfall.toml names.
pub(crate) fn add_kexec_image(repos: &Repos, _: &Operator) -> Result<()> {
    let flake = "nixos-installer/flake.nix";
    repos.replace(flake, "    disko = {", &format!("{INPUT}\n    disko = {{"))?;
    repos.replace(flake, "      disko,\n", "      disko,\n      nixos-images,\n")?;
    repos.replace(flake, "        iso = lib.nixosSystem {", SYSTEM)?;
    let settings = "kexec = \"nixosConfigurations.kexec.config.system.build.kexecTarball\"\n";
    Ok(std::fs::write(repos.config.join("landfall.toml"), settings)?)
}
