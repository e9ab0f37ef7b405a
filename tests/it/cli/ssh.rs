//! `landfall ssh` to a real sshd: the key that a run pinned, whatever came after it, or that
//! of its initrd.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::common::journey::{HOST, Journey, Ran, USER, run};
use crate::common::sshd::{Sshd, keygen, user_name};

const RUN: &str = "00000000-0000-4000-8000-000000000001";

/// A state folder with a run of `guppy` that has installed a system at the address of a server.
struct Known {
    dir: tempfile::TempDir,
    server: Sshd,
}

impl Known {
    fn new() -> Self {
        let known = Self { dir: tempfile::tempdir().unwrap(), server: Sshd::start() };
        fs::create_dir_all(known.run_dir().join("keys")).unwrap();
        let begun = format!(
            "{{\"time\":\"2026-01-01T00:00:00Z\",\"kind\":\"run\",\"run\":\"{RUN}\",\
             \"host\":\"guppy\",\"strategy\":\"direct\",\"target\":\"{}@127.0.0.1:{}\"}}\n",
            user_name(),
            known.server.port
        );
        fs::write(known.run_dir().join("journal.jsonl"), begun).unwrap();
        known
    }

    fn run_dir(&self) -> PathBuf {
        self.dir.path().join("landfall/guppy").join(RUN)
    }

    /// The run has this key, under this name.
    fn has(&self, name: &str, key: &str) {
        fs::write(self.run_dir().join("keys").join(name), key).unwrap();
    }

    fn ssh(&self, more: &[&str]) -> Ran {
        let mut landfall = Command::new(assert_cmd::cargo::cargo_bin!("landfall"));
        landfall.env("XDG_STATE_HOME", self.dir.path()).args(["ssh", "guppy", "-i"]);
        run(landfall.arg(&self.server.user_key).args(more))
    }
}

#[test]
fn each_system_is_reached_under_its_own_key_alone() {
    let known = Known::new();
    let server = known.server.host_key.to_string();
    let other = keygen(known.dir.path(), "other", "ed25519").public.to_string();
    known.ssh(&["--", "true"]).ends(2, &["no run of guppy has installed a system"]);
    known.has("ssh_host_ed25519_key.pub", &server);
    known.ssh(&["--", "echo", "a  b"]).ends(0, &["a b"]);
    known.ssh(&["--initrd"]).ends(2, &["the initrd of guppy has no key of its own"]);
    known.has("initrd_ssh_host_ed25519_key.pub", &other);
    let refused = known.ssh(&["--initrd", "--", "echo", "reached"]);
    assert_eq!(refused.code, Some(255), "{}", refused.text);
    assert!(!refused.text.contains("reached"), "{}", refused.text);

    // The initrd answers, and the installed system is another one.
    known.has("initrd_ssh_host_ed25519_key.pub", &server);
    known.has("ssh_host_ed25519_key.pub", &other);
    assert_eq!(known.ssh(&["--", "echo", "reached"]).code, Some(255));
    if user_name() == "root" {
        known.ssh(&["--initrd", "--", "echo", "reached"]).ends(0, &["reached"]);
        // Who unlocks has a terminal there.
        known.ssh(&["--initrd", "--", "tty"]).ends(0, &["/dev/pts/"]);
        let place = format!("127.0.0.1:{}", known.server.port);
        known
            .ssh(&["--initrd", "--installed-address", &place, "--", "id", "-un"])
            .ends(0, &["root"]);
    }
}

#[test]
fn the_key_is_that_of_the_system_which_the_machine_has() {
    let Some(journey) = Journey::new() else { return };
    let session = |journey: &Journey, words: &[&str]| -> Ran {
        let mut landfall = journey.landfall();
        landfall.args(["ssh", HOST, "-i"]).arg(&journey.target.sshd.user_key).arg("--");
        run(landfall.args(words))
    };
    session(&journey, &["true"]).ends(2, &["no run of guppy has installed a system"]);
    run(&mut journey.bootstrap()).succeeds();
    // The installer is no system of the run's: it shows another key than the prepared one.
    session(&journey, &["true"]).ends(255, &["verification failed"]);

    let journey = journey.installed();
    assert_eq!(session(&journey, &["echo", "two  words"]).succeeds().stdout, "two  words\n");
    assert_eq!(session(&journey, &["echo one; exit 3"]).code, Some(3));

    // It is installed again, and has still its old system.
    run(journey.landfall().args(["abandon", HOST, "--yes"])).succeeds();
    journey.target.runs("nixos", "installer");
    run(&mut journey.bootstrap()).succeeds();
    journey.target.runs("nixos", "");
    journey.target.is_used_by(USER);
    assert_eq!(session(&journey, &["echo", "still here"]).succeeds().stdout, "still here\n");
}
