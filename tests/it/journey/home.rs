//! The primary user's own secrets: home-manager's sops with an age key, which the run
//! makes, proves, keeps and brings; and hosts that read an age key file themselves.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::journey::{HOST, Journey, USER, files_below, mode, run};
use landfall::secret::age::Identity;

/// home-manager's options, as far as they are about sops.
const HOME_MANAGER: &str = r#"{ lib, ... }:
let
  inherit (lib) mkOption types;
  secret = { name, ... }: {
    options = {
      sopsFile = mkOption { type = types.path; };
      key = mkOption { type = types.str; default = name; };
      format = mkOption { type = types.str; default = "yaml"; };
      path = mkOption { type = types.str; default = "%r/secrets/${name}"; };
    };
  };
  home.options.sops = {
    age.keyFile = mkOption { type = types.nullOr types.str; default = null; };
    age.sshKeyPaths = mkOption { type = types.listOf types.str; default = [ ]; };
    secrets = mkOption { type = types.attrsOf (types.submodule secret); default = { }; };
  };
in
{
  options.home-manager.users = mkOption {
    type = types.attrsOf (types.submodule home);
    default = { };
  };
}
"#;

/// Where the key lies on the target; sandboxed runs share this machine.
fn key_file(journey: &Journey) -> PathBuf {
    journey.root.path().join("target-home/.config/sops/age/keys.txt")
}

/// A configuration with a secret of the user's own, and more.
fn configure(journey: &Journey, more: &str) {
    let host = journey.config().join(format!("hosts/nixos/{HOST}"));
    fs::write(host.join("home-manager.nix"), HOME_MANAGER).unwrap();
    let home = format!(
        "{{ inputs, ... }}:\n{{\n  imports = [ ./home-manager.nix ];\n  \
         home-manager.users.{USER}.sops = {{\n    age.keyFile = \"{0}\";\n    \
         secrets.token.sopsFile = \"${{inputs.nix-secrets}}/sops/{USER}.yaml\";\n  }};\n  {1}\n}}\n",
        key_file(journey).display(),
        more.replace("KEY_FILE", &key_file(journey).display().to_string()),
    );
    fs::write(host.join("home.nix"), home).unwrap();
    let module = host.join("default.nix");
    let text = fs::read_to_string(&module).unwrap();
    fs::write(&module, text.replacen("./disks.nix", "./disks.nix\n    ./home.nix", 1)).unwrap();
    journey.commit_config("Secrets of the user");
    journey.git(&journey.config(), &["push", "-q"]);

    let dir = journey.secrets();
    let rules = fs::read_to_string(dir.join(".sops.yaml")).unwrap();
    let own = format!(
        "creation_rules:\n  - path_regex: ^sops/{USER}\\.yaml$\n    key_groups:\n      - age:\n          - *user_{USER}\n"
    );
    fs::write(dir.join(".sops.yaml"), rules.replacen("creation_rules:\n", &own, 1)).unwrap();
    let plain = journey.root.path().join("tmp/plain.yaml");
    fs::write(&plain, "token: a token of the user\n").unwrap();
    let name = format!("sops/{USER}.yaml");
    let mut sops = journey.command("sops");
    sops.current_dir(&dir).args(["encrypt", "--filename-override", &name]).arg(&plain);
    let text = run(&mut sops).succeeds().stdout.clone();
    fs::write(dir.join(&name), text).unwrap();
    fs::remove_file(plain).unwrap();
    journey.git(&dir, &["add", "--all"]);
    journey.git(&dir, &["commit", "-q", "-m", "A secret of the user"]);
    journey.git(&dir, &["push", "-q"]);
}

/// Whether real sops opens the user's file with this identity and no other.
fn opens(journey: &Journey, identity: &Path) -> bool {
    let mut sops = journey.command("sops");
    sops.env("HOME", "/nonexistent").env("SOPS_AGE_KEY_FILE", identity);
    let file = journey.secrets().join(format!("sops/{USER}.yaml"));
    let ran = run(sops.args(["decrypt"]).arg(file));
    ran.code == Some(0) && ran.stdout.contains("a token of the user")
}

fn host_identity(journey: &Journey) -> PathBuf {
    let private = journey.run_dir().join("keys/ssh_host_ed25519_key");
    let key =
        landfall::secret::age::HostKeyPair::parse(&fs::read_to_string(private).unwrap()).unwrap();
    let path = journey.root.path().join("tmp/host");
    fs::write(&path, key.identity().unwrap().key_file().expose()).unwrap();
    path
}

#[test]
fn a_users_key_is_made_proven_kept_and_brought() {
    let Some(journey) = Journey::new() else { return };
    configure(&journey, "");
    run(journey.bootstrap().arg("--host-key-store")).ends(0, &["3 secrets open with the new key"]);
    let key = journey.run_dir().join("keys/user_age_keys.txt");
    assert_eq!(mode(&key), 0o600);
    assert!(opens(&journey, &key));
    assert!(!opens(&journey, &host_identity(&journey)), "the host opens what is the user's");
    let rules = fs::read_to_string(journey.secrets().join(".sops.yaml")).unwrap();
    assert_eq!(rules.matches("user_alice_guppy").count(), 2, "{rules}");

    // A new installation gets the same key.
    let made = fs::read_to_string(&key).unwrap();
    run(journey.landfall().args(["abandon", HOST, "--yes"])).succeeds();
    assert!(!key.exists());
    let before = journey.remote_main("nix-secrets");
    run(journey.bootstrap().arg("--host-key-store")).succeeds();
    assert_eq!(journey.remote_main("nix-secrets"), before);
    let key = journey.run_dir().join("keys/user_age_keys.txt");
    assert_eq!(fs::read_to_string(&key).unwrap(), made);
    let secret = made.lines().last().unwrap();
    let holds = |file: &PathBuf| fs::read_to_string(file).is_ok_and(|text| text.contains(secret));
    let found: Vec<_> = files_below(journey.root.path()).into_iter().filter(holds).collect();
    assert_eq!(found, [key]);

    let journey = journey.installed();
    journey.target.is_used_by(USER);
    let brought = key_file(&journey);
    run(journey.only(&["login"]).arg("--no-repos")).succeeds();
    assert_eq!((fs::read_to_string(&brought).unwrap(), mode(&brought)), (made, 0o600));
    run(journey.only(&["login"]).arg("--no-repos")).ends(0, &["login     done already"]);
    fs::set_permissions(&brought, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    run(journey.only(&["login"]).arg("--no-repos")).succeeds();
    assert_eq!(mode(&brought), 0o600);
}

#[test]
fn a_users_key_that_is_a_secret_of_the_system_is_made_in_its_file() {
    let Some(journey) = Journey::new() else { return };
    let secret = "sops.secrets.\"keys/age\" = { owner = \"alice\"; path = \"KEY_FILE\"; };";
    configure(&journey, &format!("{secret} sops.age.keyFile = \"/var/lib/sops/key.txt\";"));
    run(&mut journey.bootstrap()).ends(0, &["4 secrets open with the new key"]);
    let opened = journey.sops(&host_identity(&journey));
    let values: serde_json::Value = serde_json::from_str(&opened.succeeds().stdout).unwrap();
    let identity = Identity::parse(values["keys"]["age"].as_str().unwrap()).unwrap();
    let path = journey.root.path().join("tmp/user");
    fs::write(&path, identity.key_file().expose()).unwrap();
    assert!(opens(&journey, &path));
    assert!(!journey.run_dir().join("keys/user_age_keys.txt").exists());
    run(&mut journey.bootstrap()).ends(0, &["secrets   done already"]);
}

#[test]
fn keys_that_come_too_late_or_from_elsewhere_are_said() {
    let Some(journey) = Journey::new() else { return };
    configure(
        &journey,
        "sops.age.keyFile = \"/srv/keys/age.txt\";\n  \
         fileSystems.\"/srv\" = { device = \"/dev/late\"; fsType = \"ext4\"; };",
    );
    journey.check_refuses(2, &["too late (/srv)", "neededForBoot"], |_| ());
    let home = journey.config().join(format!("hosts/nixos/{HOST}/home.nix"));
    let text = fs::read_to_string(&home).unwrap();
    let text = text.replace("age.keyFile = \"/srv/keys/age.txt\";", "age.keyFile = null;");
    let at = format!("age.keyFile = \"{}\"", key_file(&journey).display());
    fs::write(&home, text.replace(&at, "age.sshKeyPaths = [ \"/home/alice/.ssh/id\" ]")).unwrap();
    journey.commit_config("By SSH key");
    journey.git(&journey.config(), &["push", "-q"]);
    journey.check().ends(0, &["1 secrets of alice", "/home/alice/.ssh/id", "does not make"]);
}
