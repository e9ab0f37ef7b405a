//! Secrets of the primary user's own, as home-manager's sops module has them.

use std::fs;

use anyhow::{Result, ensure};

use crate::journey::claims::{Claim, staged_and};
use crate::journey::operator::{Operator, USER};
use crate::journey::repos::{HOST, HOST_MODULE, Repos};
use crate::journey::scenario::Scenario;
use crate::journey::setup::Setup;
use crate::process::output;

/// The user's secret.
const TOKEN: &str = "a token of the user's own";

/// Lists the journeys of this subject.
pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![Scenario {
        name: "home-secrets",
        shows: "home-manager's sops: the user has a key, which opens the user's secrets",
        setup: Setup { edits: vec![add_home_secrets], ..Setup::staged() },
        claims: staged_and(&[USERS_KEY]),
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

/// Adds an encrypted file that the user's own key opens.
fn add_home_secrets(repos: &Repos, operator: &Operator) -> Result<()> {
    declare_token(repos)?;
    add_rule(repos)?;
    encrypt_token(repos, operator)
}

/// Declares the secret in the host's configuration.
fn declare_token(repos: &Repos) -> Result<()> {
    let host = repos.config.join(format!("hosts/nixos/{HOST}"));
    fs::write(host.join("home-manager.nix"), HOME_MANAGER)?;
    let home = format!(
        "{{ inputs, ... }}:\n{{\n  imports = [ ./home-manager.nix ];\n  \
         home-manager.users.{USER}.sops = {{\n    \
         age.keyFile = \"/home/{USER}/.config/sops/age/keys.txt\";\n    \
         secrets.token.sopsFile = \"${{inputs.nix-secrets}}/sops/{USER}.yaml\";\n  }};\n}}\n"
    );
    fs::write(host.join("home.nix"), home)?;
    repos.replace(HOST_MODULE, "./disks.nix", "./disks.nix\n    ./home.nix")
}

/// Adds a creation rule for the user alone, before the others.
fn add_rule(repos: &Repos) -> Result<()> {
    let rules = repos.secrets.join(".sops.yaml");
    let rule = format!(
        "creation_rules:\n  - path_regex: ^sops/{USER}\\.yaml$\n    key_groups:\n      - age:\n          \
         - *user_{USER}\n"
    );
    let text = fs::read_to_string(&rules)?;
    ensure!(text.contains("creation_rules:\n"), "{} has no rules", rules.display());
    Ok(fs::write(&rules, text.replacen("creation_rules:\n", &rule, 1))?)
}

/// Encrypts the secret for that rule.
fn encrypt_token(repos: &Repos, operator: &Operator) -> Result<()> {
    let plain = operator.secret_file("token.yaml", &format!("token: {TOKEN}\n"))?;
    let name = format!("sops/{USER}.yaml");
    let mut sops = operator.command("sops");
    sops.current_dir(&repos.secrets).args(["encrypt", "--filename-override", &name]).arg(&plain);
    fs::write(repos.secrets.join(&name), output(&mut sops)?)?;
    Ok(fs::remove_file(plain)?)
}

/// Shows that the user alone has the key, and with it opens what was brought.
const USERS_KEY: Claim = Claim::new("user's key", |journey| {
    let look = format!(
        "stat -c '%a %U' ~/.config/sops/age ~/.config/sops/age/keys.txt && \
         SOPS_AGE_KEY_FILE=~/.config/sops/age/keys.txt /nix/store/*-sops-*/bin/sops decrypt \
         --extract '[\"token\"]' ~/src/nix-secrets/sops/{USER}.yaml"
    );
    let found = journey.as_user(&look)?;
    let expected = format!("700 {USER}\n600 {USER}\n{TOKEN}");
    ensure!(found == expected, "on the machine: {found}");
    Ok(format!("opens sops/{USER}.yaml on the machine, mode 600, {USER}'s"))
});
