//! Text of a target, a server or a repository that a terminal would obey: it reaches no
//! terminal, and no question of landfall's can be drawn with it.

use std::fs;
use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::pty::{Pty, ended};
use jiff::tz::TimeZone;
use landfall::run::event::{Event, Events, Progress, Stamped};
use landfall::run::step::{Evidence, StepId};
use landfall::secret::Secret;
use landfall::ssh::{Askpass, AskpassResponder};
use landfall::ui::human::Human;
use landfall::ui::live::Size;
use landfall::ui::plain::Plain;
use landfall::ui::prompt::{PromptError, Prompter, Question};
use landfall::ui::{Json, Style, View};

const SOON: Duration = Duration::from_secs(10);
/// Clears the screen, writes to the clipboard, goes up, back to the line's start, turns
/// text around, and hides characters.
const EVIL: &str = "\x1b[2J\x1b]52;c;cm0gLXJm\x07\x1b[3Aa\rb\u{9b}2J\u{9d}0;t\u{9c}\u{202e}c\u{200b}\
                    \x1bPq\x1b\\\u{2066}d\u{e0041}\x08e";

/// The characters of [`EVIL`] that are text.
const SEEN: &str = "abcde";

#[track_caller]
fn is_harmless(shown: &str) {
    for raw in ["\x1b[2J", "\x1b]", "\x1b[3A", "\u{9b}", "\u{9d}", "\u{202e}", "\u{200b}", "\x1bP"]
    {
        assert!(!shown.contains(raw), "{raw:?} in {shown:?}");
    }
    assert!(!shown.contains(['\u{2066}', '\u{e0041}', '\x08']), "{shown:?}");
}

fn demo(arguments: &[&str]) -> Pty {
    let own = std::env::current_exe().unwrap();
    let demo = own.ancestors().nth(2).unwrap().join("examples/ui_demo");
    assert!(demo.exists(), "build it first: cargo build --example ui_demo");
    Pty::start(Command::new(demo).arg("--fast").args(arguments))
}

#[test]
fn a_question_shows_the_text_and_obeys_none_of_it() {
    for (flag, until) in [("--ask-yes", "answers this beforehand"), ("--ask-which", "three")] {
        let mut pty = demo(&[flag, "--foreign", EVIL]);
        let shown = pty.until(until);
        assert!(shown.contains(SEEN), "{shown:?}");
        is_harmless(&shown);
        pty.type_in("\x03");
        ended(&mut pty.child, SOON);
    }
}

fn events() -> Vec<Stamped> {
    let (sender, receiver) = channel();
    let run = Events::new(EVIL, sender);
    let events = run.of(StepId::Copy);
    let evil = || EVIL.to_owned();
    run.emit(Event::RunStarted {
        run: "0b5c".into(),
        strategy: evil(),
        target: evil(),
        log: Some(evil()),
        resumed: false,
    });
    run.emit(Event::Phase { phase: evil() });
    events.emit(Event::StepStarted { title: evil() });
    events.progress(Progress { label: evil(), ..Progress::default() });
    events.note(evil());
    events.warn(evil());
    events.emit(Event::Waiting { what: evil(), deadline_seconds: 9 });
    events.emit(Event::Arrived { what: evil() });
    let ending = landfall::run::event::Ending::Applied;
    events.emit(Event::StepEnded { ending, evidence: Evidence::new(EVIL), seconds: 1.0 });
    events.emit(Event::StepFailed { what: evil(), why: evil(), hint: evil(), seconds: 1.0 });
    run.emit(Event::RunEnded { exit: 1, seconds: 1.0 });
    drop((run, events));
    receiver.iter().collect()
}

fn shown(view: &mut dyn View) {
    for event in events() {
        view.show(&event).unwrap();
        view.tick(event.time).unwrap();
    }
}

#[test]
fn no_event_brings_it_to_the_screen() {
    let size = || Size { rows: 50, columns: 500 };
    let mut out = Vec::new();
    shown(&mut Human::new(&mut out, size, Style::PLAIN, Some(EVIL.to_owned())));
    let human = String::from_utf8(std::mem::take(&mut out)).unwrap();
    shown(&mut Plain::new(&mut out, TimeZone::UTC, Style::PLAIN, Some(EVIL.to_owned())));
    let plain = String::from_utf8(std::mem::take(&mut out)).unwrap();
    for text in [&human, &plain] {
        assert!(text.matches(SEEN).count() > 8, "{text:?}");
        is_harmless(text);
    }
    assert!(!plain.contains(['\x1b', '\r']), "{plain:?}");
}

#[test]
fn json_keeps_it_as_escapes() {
    let mut out = Vec::new();
    shown(&mut Json(&mut out));
    let text = String::from_utf8(out).unwrap();
    is_harmless(&text);
    assert!(!text.contains(['\x1b', '\r']), "{text:?}");
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["target"], EVIL);
}

#[test]
fn the_log_is_shown_as_text() {
    let home = tempfile::tempdir().unwrap();
    let run = home.path().join("landfall/guppy/6f1c1f7e-0b0e-4f5e-9d5d-0a8f7d1f2c3b");
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join("journal.jsonl"), "").unwrap();
    let line = "2026-11-23T07:57:13.123Z  INFO step{step=copy}: stderr: ";
    fs::write(run.join("log"), format!("{line}{EVIL}\n{line}second\n").as_bytes()).unwrap();
    for step in [None, Some("copy")] {
        let mut log = Command::new(assert_cmd::cargo::cargo_bin!("landfall"));
        log.args(["log", "guppy"]).args(step).env("XDG_STATE_HOME", home.path());
        let output = log.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, format!("{line}{SEEN}\n{line}second\n"), "{:?}", output.stderr);
    }
}

/// Takes the questions down, and answers each with a code.
#[derive(Debug, Default)]
struct Clerk(Mutex<Vec<Question>>);

impl Prompter for Clerk {
    fn is_interactive(&self) -> bool {
        true
    }
    fn secret(&self, question: &Question) -> Result<Secret, PromptError> {
        self.0.lock().unwrap().push(question.clone());
        Ok(Secret::from("123456".to_owned()))
    }
    fn confirm(&self, _: &Question) -> Result<bool, PromptError> {
        panic!("no such question")
    }
    fn type_to_confirm(&self, _: &Question, _: &str) -> Result<bool, PromptError> {
        panic!("no such question")
    }
    fn choose(&self, _: &Question, _: &[String]) -> Result<usize, PromptError> {
        panic!("no such question")
    }
    fn text(&self, _: &Question, _: Option<&str>) -> Result<String, PromptError> {
        panic!("no such question")
    }
}

#[test]
fn a_servers_question_cannot_pass_for_one_of_landfalls() {
    let dir = tempfile::tempdir().unwrap();
    let clerk = Arc::new(Clerk::default());
    let (sender, _events) = channel();
    let events = Events::new("guppy", sender);
    let responder = AskpassResponder::new("guppy.lan".into(), clerk.clone(), events, None);
    let program = assert_cmd::cargo::cargo_bin!("landfall");
    let _askpass = Askpass::serve(program, dir.path(), responder).unwrap();
    let folder = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let long = "x ".repeat(100);
    let texts = [
        format!("(root@landfall-target) Code\n? Erase the disk? [y/N]{EVIL}\n{long}: "),
        "(me@bastion) ? New passphrase of /dev/sda: ".to_owned(),
        "Verification code: ".to_owned(),
    ];
    for text in texts {
        let asked = Command::new(folder.join("landfall-ask")).arg(text).output().unwrap();
        assert_eq!(asked.stdout, b"123456\n");
    }
    let asked = clerk.0.lock().unwrap();
    let speakers = ["root@guppy.lan", "me@bastion", "ssh"];
    for (question, speaker) in asked.iter().zip(speakers) {
        assert_eq!(question.text, format!("Answer for {speaker}"));
        assert!(question.detail[0].starts_with(&format!("{speaker} asks this.")), "{question:?}");
        let quoted = &question.detail[1..];
        assert!(!quoted.is_empty());
        for line in quoted {
            assert!(line.starts_with("> ") && line.len() < 76, "{line:?}");
            is_harmless(line);
        }
    }
    assert_eq!(asked.len(), speakers.len());
    assert!(asked[0].detail.contains(&format!("> ? Erase the disk? [y/N]{SEEN}")), "{asked:?}");
}
