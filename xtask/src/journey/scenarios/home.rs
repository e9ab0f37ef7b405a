//! Secrets of the primary user's own, as home-manager's sops module has them.

use std::fs;

use anyhow::{Result, ensure};

use crate::journey::course::Journey;
use crate::journey::operator::{Operator, USER};
use crate::journey::proof::{Proof, STAGED};
use crate::journey::repos::{HOST, Repos};
use crate::journey::scenario::Scenario;
use crate::run::output;

const TOKEN: &str = "a token of the user's own";

pub fn scenarios() -> Vec<Scenario> {
    vec![Scenario {
        name: "home-secrets",
        shows: "home-manager's sops: the user has a key, which opens the user's secrets",
        edits: vec![home_secrets],
        holds: [&STAGED[..], &[USERS_KEY]].concat(),
        ..Scenario::staged()
    }]
}

/// home-manager's options, as far as they are about sops.
const HOME_MANAGER: &str = r#"{ lib, ... }:
let
  inherit (lib) mkOption types;
  secret =
    { name, ... }:
    {
      options = {
        sopsFile = mkOption { type = types.path; };
        key = mkOption {
          type = types.str;
          default = name;
        };
        format = mkOption {
          type = types.str;
          default = "yaml";
        };
        path = mkOption {
          type = types.str;
          default = "%r/secrets/${name}";
        };
      };
    };
  home.options.sops = {
    age.keyFile = mkOption {
      type = types.nullOr types.str;
      default = null;
    };
    age.sshKeyPaths = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
    secrets = mkOption {
      type = types.attrsOf (types.submodule secret);
      default = { };
    };
  };
in
{
  options.home-manager.users = mkOption {
    type = types.attrsOf (types.submodule home);
    default = { };
  };
}
"#;

fn home_secrets(repos: &Repos, operator: &Operator) -> Result<()> {
    let host = repos.config.join(format!("hosts/nixos/{HOST}"));
    fs::write(host.join("home-manager.nix"), HOME_MANAGER)?;
    let home = format!(
        "{{ inputs, ... }}:\n{{\n  imports = [ ./home-manager.nix ];\n  \
         home-manager.users.{USER}.sops = {{\n    \
         age.keyFile = \"/home/{USER}/.config/sops/age/keys.txt\";\n    \
         secrets.token.sopsFile = \"${{inputs.nix-secrets}}/sops/{USER}.yaml\";\n  }};\n}}\n"
    );
    fs::write(host.join("home.nix"), home)?;
    let file = format!("hosts/nixos/{HOST}/default.nix");
    repos.replace(&file, "./disks.nix", "./disks.nix\n    ./home.nix")?;

    let rules = repos.secrets.join(".sops.yaml");
    let rule = format!(
        "creation_rules:\n  - path_regex: ^sops/{USER}\\.yaml$\n    key_groups:\n      - age:\n          \
         - *user_{USER}\n"
    );
    let text = fs::read_to_string(&rules)?;
    ensure!(text.contains("creation_rules:\n"), "{} has no rules", rules.display());
    fs::write(&rules, text.replacen("creation_rules:\n", &rule, 1))?;
    let plain = operator.secret_file("token.yaml", &format!("token: {TOKEN}\n"))?;
    let name = format!("sops/{USER}.yaml");
    let mut sops = operator.command("sops");
    sops.current_dir(&repos.secrets).args(["encrypt", "--filename-override", &name]).arg(&plain);
    fs::write(repos.secrets.join(&name), output(&mut sops)?)?;
    Ok(fs::remove_file(plain)?)
}

/// The user alone has the key, and with it opens what was brought.
const USERS_KEY: Proof = Proof::new("user's key", |journey: &Journey| {
    let look = format!(
        "stat -c '%a %U' ~/.config/sops/age ~/.config/sops/age/keys.txt && \
         SOPS_AGE_KEY_FILE=~/.config/sops/age/keys.txt /nix/store/*-sops-*/bin/sops decrypt \
         --extract '[\"token\"]' ~/src/nix-secrets/sops/{USER}.yaml"
    );
    let found = journey.installed()?.run(&journey.operator, USER, &look)?;
    let expected = format!("700 {USER}\n600 {USER}\n{TOKEN}");
    ensure!(found == expected, "on the machine: {found}");
    Ok(format!("opens sops/{USER}.yaml on the machine, mode 600, {USER}'s"))
});
