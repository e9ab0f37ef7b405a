//! A passphrase that disko is about to set is asked for twice; one that opens what is on the
//! disks is asked for once.

use crate::common::installer::SERIAL;
use crate::common::journey::quoted;
use crate::common::plain_flake::Plain;
use rexpect::session::{PtySession, spawn_command};

const DEADLINE_MS: u64 = 120_000;
const QUESTION: &str = "Passphrase for the encrypted volume crypted: ";
const AGAIN: &str = "Passphrase for the encrypted volume crypted (again): ";

/// `landfall install` of the disks alone, at a terminal.
fn install(plain: &Plain, words: &[&str]) -> PtySession {
    let landfall = assert_cmd::cargo::cargo_bin!("landfall").display().to_string();
    let (target, key) = (plain.target_word(), plain.target.sshd.user_key.display().to_string());
    let fingerprint = plain.target.sshd.host_key.fingerprint();
    let fixed = ["install", ".#guppy", &target, "--phases", "disko", "-i", &key];
    let fixed = [&fixed[..], &["--installer-fingerprint", &fingerprint], words].concat();
    let words: Vec<String> = fixed.iter().map(|word| quoted(word)).collect();
    let script =
        format!("stty columns 120 rows 60; {landfall} {}; echo \"code=$?\"", words.join(" "));
    let mut shell = plain.command("sh");
    shell.env("TERM", "xterm-256color").args(["-c", &script]);
    spawn_command(shell, Some(DEADLINE_MS)).unwrap()
}

fn answer(terminal: &mut PtySession, question: &str, answer: &str) {
    terminal.exp_string(question).unwrap();
    terminal.send_line(answer).unwrap();
}

#[test]
fn a_passphrase_that_is_set_is_typed_twice() {
    let Some(plain) = Plain::new() else { return };
    let mut terminal = install(&plain, &["--erase", SERIAL]);
    answer(&mut terminal, QUESTION, "a slip of the finger");
    answer(&mut terminal, AGAIN, "correct horse");
    answer(&mut terminal, QUESTION, "correct horse");
    answer(&mut terminal, AGAIN, "correct horse");
    terminal.exp_string("code=0").unwrap();
    assert_eq!(plain.told("to-cryptsetup"), "correct horse");
}

#[test]
fn a_passphrase_that_opens_what_is_there_is_typed_once() {
    let Some(plain) = Plain::new() else { return };
    let mut terminal = install(&plain, &["--disko-mode", "mount"]);
    let shown = terminal.exp_string(QUESTION).unwrap();
    assert!(shown.contains("opens what is on the disks already"), "{shown}");
    terminal.send_line("correct horse").unwrap();
    let rest = terminal.exp_string("code=0").unwrap();
    assert!(!rest.contains(AGAIN), "{rest}");
    assert_eq!(plain.told("to-cryptsetup"), "correct horse");
}
