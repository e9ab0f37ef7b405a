//! What a person is asked at a terminal, and what a no means.

use crate::common::journey::{HOST, Journey, quoted};
use rexpect::session::{PtySession, spawn_command};

const DEADLINE_MS: u64 = 60_000;

/// A run without --yes, up to the last step before the disks, at a terminal.
fn ask(journey: &Journey) -> PtySession {
    let mut args = journey.args("bootstrap");
    for answered in ["--yes", "--erase", "--installer-fingerprint"] {
        let at = args.iter().position(|word| word == answered).unwrap();
        let values = usize::from(answered != "--yes");
        args.drain(at..=at + values);
    }
    let words: Vec<String> = args.iter().map(|word| quoted(word)).collect();
    let landfall = assert_cmd::cargo::cargo_bin!("landfall").display().to_string();
    let script = format!(
        "stty columns 120 rows 60; {landfall} -C {} {} --until build; echo \"code=$?\"",
        journey.config().display(),
        words.join(" ")
    );
    let mut shell = journey.command("sh");
    shell.env("TERM", "xterm-256color").args(["-c", &script]);
    spawn_command(shell, Some(DEADLINE_MS)).unwrap()
}

/// Waits for a question and gives what was shown until then.
fn answer(terminal: &mut PtySession, question: &str, answer: &str) -> String {
    let shown = terminal.exp_string(question).unwrap();
    terminal.send_line(answer).unwrap();
    shown
}

#[test]
fn everything_is_shown_asked_and_done() {
    let Some(journey) = Journey::new() else { return };
    let mut terminal = ask(&journey);
    let shown = answer(&mut terminal, "Is this the host key of 127.0.0.1?", "y");
    assert!(shown.contains(&journey.target.sshd.host_key.fingerprint()), "{shown}");
    let shown = answer(&mut terminal, "Re-encrypt, commit and push these?", "y");
    for part in ["+", HOST, "age1", "re-encrypts", "sops/guppy.yaml"] {
        assert!(shown.contains(part), "no {part:?} in:\n{shown}");
    }
    let shown = answer(&mut terminal, "Take this over as", "y");
    for part in ["virtio_blk", "modulesPath/profiles/qemu-guest.nix", "x86_64-linux"] {
        assert!(shown.contains(part), "no {part:?} in:\n{shown}");
    }
    terminal.exp_string("code=0").unwrap();
    assert_eq!(journey.steps()["build"]["state"], "done");
}

#[test]
fn a_no_to_the_host_key_ends_the_run_before_the_login() {
    let Some(journey) = Journey::new() else { return };
    let before = journey.seen();
    let mut terminal = ask(&journey);
    answer(&mut terminal, "Is this the host key of 127.0.0.1?", "n");
    let shown = terminal.exp_string("code=3").unwrap();
    assert!(shown.contains("--installer-fingerprint"), "{shown}");
    assert_eq!(journey.seen(), before);
    let log = std::fs::read_to_string(journey.target.sshd.dir.path().join("log")).unwrap();
    assert!(!log.contains("Accepted publickey"), "{log}");
}

#[test]
fn a_no_to_the_secrets_leaves_them_as_they_are() {
    let Some(journey) = Journey::new() else { return };
    let before = journey.seen();
    let mut terminal = ask(&journey);
    answer(&mut terminal, "Is this the host key of 127.0.0.1?", "y");
    answer(&mut terminal, "Re-encrypt, commit and push these?", "n");
    let shown = terminal.exp_string("code=3").unwrap();
    assert!(shown.contains("the secrets were left as they are"), "{shown}");
    assert!(shown.contains("--no-secrets"), "{shown}");
    assert_eq!(journey.seen(), before);
    // Answered before, the host key is not asked for again.
    let mut terminal = ask(&journey);
    let shown = answer(&mut terminal, "Re-encrypt, commit and push these?", "y");
    assert!(!shown.contains("Is this the host key"), "{shown}");
    answer(&mut terminal, "Take this over as", "y");
    terminal.exp_string("code=0").unwrap();
}
