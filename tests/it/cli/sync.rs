//! `landfall sync` to a real sshd whose sessions see an installed NixOS and another home.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::common::git::{git, identify};
use crate::common::journey::{HOST, Journey, Ran, run};
use crate::common::sshd::{keygen, user_name};

const RUN: &str = "00000000-0000-4000-8000-000000000001";

/// The source, and a host that was installed long ago.
struct Installed(Journey);

impl Installed {
    fn new() -> Option<Self> {
        let journey = Journey::new()?;
        journey.target.runs("nixos", "");
        journey.target.home();
        fs::write(journey.hardware_file(), "{ nixpkgs.hostPlatform = \"x86_64-linux\"; }\n")
            .unwrap();
        journey.commit_config("Hardware");
        Some(Self(journey))
    }

    /// Leaves what a run leaves whose keys are forgotten and whose remains were tidied up.
    fn remember_run(&self, public_key: &str) {
        let dir = self.0.state().join(HOST).join(RUN);
        fs::create_dir_all(dir.join("keys")).unwrap();
        fs::write(dir.join("keys/ssh_host_ed25519_key.pub"), public_key).unwrap();
        let address = format!("{}@127.0.0.1:{}", user_name(), self.0.target.sshd.port);
        let line = |entry: &str| format!("{{\"time\":\"2026-01-01T00:00:00Z\",{entry}}}\n");
        let begun = format!(
            "\"kind\":\"run\",\"run\":\"{RUN}\",\"host\":\"{HOST}\",\"strategy\":\"staged\",\
             \"target\":\"root@192.0.2.1\""
        );
        let reboot = format!(
            "\"kind\":\"finished\",\"step\":\"reboot\",\"seconds\":1.0,\"evidence\":\
             {{\"summary\":\"\",\"facts\":{{\"address\":\"{address}\"}}}}"
        );
        fs::write(dir.join("journal.jsonl"), line(&begun) + &line(&reboot)).unwrap();
    }

    fn sync_with(&self, more: &[&str]) -> Ran {
        let key = self.0.target.sshd.user_key.display().to_string();
        run(self.0.landfall().args(["sync", HOST, "--yes", "-i", &key]).args(more))
    }

    fn sync(&self) -> Ran {
        self.sync_with(&[])
    }

    /// A checkout in the home on the host.
    fn there(&self, name: &str) -> PathBuf {
        self.0.target.home().join(name)
    }

    fn head(&self, name: &str) -> String {
        git(&self.there(name), &["rev-parse", "HEAD"])
    }

    fn own_head(&self) -> String {
        self.0.git(&self.0.config(), &["rev-parse", "HEAD"])
    }
}

#[test]
fn the_repositories_go_over_and_later_only_move_forward() {
    let Some(host) = Installed::new() else { return };
    host.remember_run(&host.0.target.sshd.host_key.to_string());
    host.sync().ends(0, &["nix-config", "nix-secrets", "guppy is done"]);
    assert_eq!(host.head("nix-config"), host.own_head());
    let secrets = host.0.git(&host.0.secrets(), &["rev-parse", "HEAD"]);
    assert_eq!(host.head("nix-secrets"), secrets);
    let remote = git(&host.there("nix-config"), &["remote", "get-url", "origin"]);
    assert_eq!(PathBuf::from(remote), host.0.remote("nix-config"));

    host.sync().ends(0, &["done already: ~/nix-config"]);

    fs::write(host.0.config().join("more.nix"), "{ }\n").unwrap();
    host.0.commit_config("More");
    fs::write(host.0.config().join("vars.nix"), "{ username = \"alice\"; }\n").unwrap();
    host.sync().ends(0, &["not committed, and so left out: vars.nix"]);
    assert_eq!(host.head("nix-config"), host.own_head());
    assert!(host.there("nix-config/more.nix").exists());
    assert!(fs::read_to_string(host.there("nix-config/vars.nix")).unwrap().contains("primary"));
    // Nothing of it is kept as a run of the host.
    assert_eq!(fs::read_dir(host.0.state().join(HOST)).unwrap().count(), 1);
}

#[test]
fn work_on_the_host_is_not_lost() {
    let Some(host) = Installed::new() else { return };
    host.remember_run(&host.0.target.sshd.host_key.to_string());
    host.sync().succeeds();
    let there = host.there("nix-config");
    identify(&there);
    git(&there, &["commit", "-q", "--allow-empty", "-m", "Made there"]);
    let theirs = host.head("nix-config");
    host.sync().ends(1, &["it is ahead of what is copied", "pull here"]);
    fs::write(host.0.config().join("more.nix"), "{ }\n").unwrap();
    host.0.commit_config("More");
    host.sync().ends(1, &["could not be copied to ~/nix-config", "push or drop them there"]);
    assert_eq!(host.head("nix-config"), theirs);
}

#[test]
fn another_machine_at_the_address_gets_nothing() {
    let Some(host) = Installed::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let other = keygen(dir.path(), "other", "ed25519").public;
    host.remember_run(&other.to_string());
    host.sync().ends(3, &[&other.fingerprint(), &host.0.target.sshd.host_key.fingerprint()]);
    assert!(!host.there("nix-config").exists());
}

#[test]
fn an_installer_at_the_address_gets_nothing() {
    let Some(host) = Installed::new() else { return };
    host.remember_run(&host.0.target.sshd.host_key.to_string());
    host.0.target.runs("nixos", "installer");
    host.sync().ends(3, &["guppy is not installed", "runs an installer", "landfall bootstrap"]);
    assert!(!host.there("nix-config").exists());
}

#[test]
fn without_a_run_known_hosts_and_the_command_line_tell() {
    let Some(host) = Installed::new() else { return };
    host.sync().ends(2, &["where guppy answers is not known", "landfall sync guppy TARGET"]);
    let target = format!("{}@127.0.0.1:{}", user_name(), host.0.target.sshd.port);
    host.sync_with(&[&target]).ends(3, &[&host.0.target.sshd.host_key.fingerprint()]);
    assert!(!host.there("nix-config").exists());

    // ssh takes the home from the user database: it gets one in which the host is known.
    let known = host.0.root.path().join("known_hosts");
    let name = format!("[127.0.0.1]:{}", host.0.target.sshd.port);
    fs::write(&known, host.0.target.sshd.host_key.known_hosts_line(&name)).unwrap();
    fs::write(host.0.config().join("landfall.toml"), format!("installed_address = \"{target}\"\n"))
        .unwrap();
    let key = host.0.target.sshd.user_key.display().to_string();
    let mut landfall = host.0.command("unshare");
    // nix itself may lie below the home that is hidden.
    let kept = host.0.root.path().join("kept");
    fs::create_dir(&kept).unwrap();
    landfall.env("KEPT", &kept).args(["--mount", "--", "sh", "-c"]).arg(
        "set -e; home=$(getent passwd \"$(id -u)\" | cut -d: -f6)
         mount --rbind \"$LANDFALL_LAB_CACHE\" \"$KEPT\"; mount -t tmpfs none \"$home\"
         mkdir -p \"$LANDFALL_LAB_CACHE\"; mount --rbind \"$KEPT\" \"$LANDFALL_LAB_CACHE\"
         mkdir -m 700 \"$home/.ssh\"; cp \"$0\" \"$home/.ssh/\"; exec \"$@\"",
    );
    landfall.arg(&known).arg(assert_cmd::cargo::cargo_bin!("landfall")).arg("-C");
    landfall.arg(host.0.config()).args(["rebuild", HOST, "--yes", "-i", &key]);
    run(&mut landfall).ends(0, &["not committed, and so left out: landfall.toml"]);
    assert_eq!(host.head("nix-config"), host.own_head());
}

#[test]
fn wrong_use_is_said_before_anything_is_done() {
    let landfall = |words: &[&str]| {
        run(Command::new(assert_cmd::cargo::cargo_bin!("landfall")).arg("sync").args(words))
    };
    landfall(&["guppy", "--boot", "--switch"]).ends(2, &["cannot be used with"]);
    landfall(&["guppy", "--no-repos"]).ends(2, &["--boot"]);
    landfall(&["--help"]).ends(0, &["Examples:", "landfall sync guppy --switch"]);
}
