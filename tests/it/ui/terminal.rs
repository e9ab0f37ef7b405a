//! Questions and the choice of a format, on a real terminal and without one.
//!
//! The program is `examples/ui_demo.rs`, which plays a run and asks before the disks.

use std::path::PathBuf;
use std::process::Command;

use rexpect::session::{PtySession, spawn_command};

const PATIENCE: Option<u64> = Some(20_000);

/// The example beside this test's own program; cargo builds both for a test run.
fn demo() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let profile = own.ancestors().nth(2).unwrap();
    let demo = profile.join("examples/ui_demo");
    assert!(demo.exists(), "build it first: cargo build --example ui_demo");
    demo
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(demo());
    command.arg("--fast").args(arguments);
    command.env("TERM", "xterm").env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    command
}

fn on_terminal(arguments: &[&str]) -> PtySession {
    spawn_command(command(arguments), PATIENCE).unwrap()
}

/// Output and success without a terminal.
fn without_terminal(command: &mut Command) -> (String, bool) {
    let output = command.output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

#[test]
fn the_right_word_goes_on() {
    let mut session = on_terminal(&["--ask"]);
    session.exp_string("serial S1").unwrap();
    session.exp_string("Erase this disk?").unwrap();
    session.exp_string("type S1").unwrap();
    session.send_line("S1").unwrap();
    session.exp_string("guppy is done").unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn any_other_word_is_a_no() {
    for word in ["y", "yes", "S12", ""] {
        let mut session = on_terminal(&["--ask"]);
        session.exp_string("type S1").unwrap();
        session.send_line(word).unwrap();
        session.exp_string("not erased: Ok(false)").unwrap();
        session.exp_eof().unwrap();
    }
}

#[test]
fn what_was_typed_ahead_answers_nothing() {
    let mut session = on_terminal(&["--ask"]);
    session.send_line("S1").unwrap();
    session.exp_string("type S1").unwrap();
    session.send_line("no").unwrap();
    session.exp_string("not erased: Ok(false)").unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn control_c_at_a_question_interrupts() {
    let mut session = on_terminal(&["--ask"]);
    session.exp_string("type S1").unwrap();
    session.send_control('c').unwrap();
    session.exp_string("not erased: Err(Interrupted").unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn a_secret_is_not_echoed() {
    let mut session = on_terminal(&["--ask-secret"]);
    session.exp_string("New passphrase: ").unwrap();
    session.send_line("correct horse battery").unwrap();
    session.exp_string("(again): ").unwrap();
    session.send_line("correct horse battery").unwrap();
    let rest = session.exp_eof().unwrap();
    assert!(rest.contains("21 bytes"), "{rest}");
    assert!(!rest.contains("horse"), "{rest}");
}

#[test]
fn a_line_of_text_has_a_default_and_is_never_blank() {
    let mut session = on_terminal(&["--ask-name"]);
    session.exp_string("Name?").unwrap();
    session.send_line("").unwrap();
    session.exp_string("Other name?").unwrap();
    session.send_line("  ").unwrap();
    session.exp_string("something must be typed").unwrap();
    session.send_line("tetra ").unwrap();
    session.exp_string("named guppy and tetra.").unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn without_a_terminal_a_question_names_its_flag() {
    let (text, _) = without_terminal(&mut command(&["--ask"]));
    assert!(text.contains("not erased: Err(NeedsPerson"), "{text}");
    assert!(text.contains("--erase DISK"), "{text}");
}

#[test]
fn a_pipe_gets_plain_lines_and_colour_only_when_forced() {
    let (text, success) = without_terminal(&mut command(&[]));
    assert!(success);
    assert!(!text.contains(['\x1b', '\r']), "{text}");
    let (text, _) = without_terminal(command(&[]).env("CLICOLOR_FORCE", "1"));
    assert!(text.contains("\x1b[") && !text.contains('\r'), "{text}");
    let (text, _) = without_terminal(command(&["--color", "never"]).env("CLICOLOR_FORCE", "1"));
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn a_terminal_gets_the_live_view_and_a_dumb_one_plain_lines() {
    let mut session = on_terminal(&[]);
    let live = session.exp_eof().unwrap();
    assert!(live.contains("\x1b[J") && live.contains("\x1b[32m"), "{live}");
    let mut dumb = command(&[]);
    dumb.env("TERM", "dumb");
    let plain = spawn_command(dumb, PATIENCE).unwrap().exp_eof().unwrap();
    assert!(!plain.contains('\x1b'), "{plain}");
    let mut gray = command(&[]);
    gray.env("NO_COLOR", "1");
    let gray = spawn_command(gray, PATIENCE).unwrap().exp_eof().unwrap();
    assert!(gray.contains("\x1b[J") && !gray.contains("\x1b[32m"), "{gray}");
}
