//! A target that reports addresses of its own choice, where ssh is told to look for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::git::git;
use landfall::run::journal::{Entry, Journal, RunIdentity};
use landfall::run::run_dir::StateDir;
use landfall::run::step::{Evidence, StepId};
use landfall::secret::age::HostKeyPair;
use uuid::Uuid;

/// What a hostile target says of itself, and one address that it could have.
const REPORTED: &str = "-oProxyCommand=touch${IFS}owned $(touch${IFS}owned) evil.example;id \
     fe80::1%$(id) fe80::1%-oX 10.0.0.9/8 evil.example 192.0.2.77 fe80::2%eth0";

/// An ssh that notes its words and reaches nobody.
const SSH: &str = "#!/bin/sh\nfor word; do echo \"$word\"; done >> \"$HOME/words\"\nexit 255\n";

/// A run of a machine that is installed, and does not answer where it was.
fn installed(home: &Path) {
    let state = StateDir::at(home.join(".local/state/landfall")).unwrap();
    let run = state.host("guppy").unwrap().new_run(Uuid::from_u128(1)).unwrap();
    let key = HostKeyPair::generate("root@guppy").unwrap();
    fs::create_dir(run.path().join("keys")).unwrap();
    let public = run.path().join("keys/ssh_host_ed25519_key.pub");
    fs::write(public, key.public_openssh().unwrap()).unwrap();
    let mut journal = Journal::open(&run.journal()).unwrap();
    let identity = RunIdentity {
        run: run.id(),
        host: "guppy".into(),
        strategy: "direct".into(),
        target: "root@127.0.0.1:1".into(),
    };
    journal.append(Entry::Run(identity)).unwrap();
    for step in [StepId::Installer, StepId::Install, StepId::Reboot] {
        let evidence = Evidence::new("as the test has it").with("addresses", REPORTED);
        journal.append(Entry::Finished { step, evidence, seconds: 0.0 }).unwrap();
    }
}

#[test]
fn what_a_target_reports_is_an_address_or_is_dropped() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("config");
    fs::create_dir_all(home.path().join("bin")).unwrap();
    fs::create_dir(&config).unwrap();
    git(&config, &["init", "-q"]);
    fs::write(config.join("flake.nix"), "{ outputs = _: { }; }\n").unwrap();
    let ssh = home.path().join("bin/ssh");
    fs::write(&ssh, SSH).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    installed(home.path());

    let path = std::env::var("PATH").unwrap();
    let mut landfall = Command::new(assert_cmd::cargo::cargo_bin!("landfall"))
        .args(["-C", config.to_str().unwrap(), "bootstrap", "guppy", "root@127.0.0.1:1", "--yes"])
        .env_remove("XDG_STATE_HOME")
        .env("HOME", home.path())
        .env("PATH", format!("{}:{path}", ssh.parent().unwrap().display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let words = || fs::read_to_string(home.path().join("words")).unwrap_or_default();
    let seen = |word: &str| words().lines().any(|line| line == word);
    let until = Instant::now() + Duration::from_secs(30);
    while !(seen("192.0.2.77") && seen("fe80::2%eth0")) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(2));
    let _ = landfall.kill();
    let _ = landfall.wait();
    let words = words();
    assert!(seen("192.0.2.77") && seen("fe80::2%eth0") && seen("guppy.lan"), "{words}");
    for hostile in ["owned", "evil", "fe80::1", "10.0.0.9"] {
        assert!(!words.contains(hostile), "ssh was told {hostile}: {words}");
    }
}
