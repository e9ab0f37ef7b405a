//! Machines that run something else when the journey begins.

use anyhow::Result;

use crate::journey::operator::Operator;
use crate::journey::repos::Repos;
use crate::journey::scenario::{Begins, Scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![Scenario {
        name: "kexec",
        shows: "a Debian on the disk makes way for the installer by kexec",
        begins: Begins::Debian,
        edits: vec![with_kexec_image],
        ..Scenario::staged()
    }]
}

/// The installer flake makes the tarball as well, and landfall.toml names it.
fn with_kexec_image(repos: &Repos, _: &Operator) -> Result<()> {
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
