//! Ctrl-C in the middle of a step that takes long: the run ends at once and in order,
//! and the next one goes on.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::common::journey::{Journey, quoted, run};
use rustix::process::{Pid, Signal, kill_process};

/// For what takes a second or two.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for something that another process does.
#[track_caller]
fn wait_until(mut reached: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !reached() {
        assert!(Instant::now() < until, "it did not come to that");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Starts a run and waits until it is in the middle of the hardware step.
fn in_the_middle(journey: &Journey) -> Child {
    journey.target.hangs(true);
    let mut bootstrap = journey.bootstrap();
    bootstrap.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = bootstrap.spawn().unwrap();
    wait_until(|| journey.target.is_waited_for());
    child
}

#[track_caller]
fn goes_on(journey: &Journey) {
    assert!(!journey.hardware_file().exists());
    journey.target.hangs(false);
    let ran = run(&mut journey.bootstrap());
    ran.succeeds();
    for step in ["identity", "secrets", "lock"] {
        assert!(ran.text.contains(&format!("{step:<9} done already")), "{}", ran.text);
    }
    assert_eq!(journey.git(&journey.config(), &["status", "--porcelain"]), "");
}

#[test]
fn an_interrupted_run_says_so_and_is_gone_on_with() {
    let Some(journey) = Journey::new() else { return };
    for wanted in [Signal::INT, Signal::TERM] {
        let child = in_the_middle(&journey);
        let started = Instant::now();
        signal(&child, wanted);
        let output = child.wait_with_output().unwrap();
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(130), "{text}");
        assert!(text.contains("interrupted") && text.contains("resume"), "{text}");
        assert_eq!(journey.steps()["hardware"]["state"], "failed");
        let left: Vec<_> = std::fs::read_dir(journey.root.path().join("tmp")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
    goes_on(&journey);
}

#[test]
fn a_killed_run_is_gone_on_with() {
    let Some(journey) = Journey::new() else { return };
    let mut child = in_the_middle(&journey);
    assert_eq!(journey.steps()["hardware"]["state"], "running");
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    assert_eq!(journey.steps()["hardware"]["state"], "failed");
    goes_on(&journey);
}

#[test]
fn a_second_run_of_the_same_host_waits_for_its_turn() {
    let Some(journey) = Journey::new() else { return };
    let mut child = in_the_middle(&journey);
    let before = journey.seen();
    let second = run(&mut journey.bootstrap());
    assert_ne!(second.code, Some(0), "{}", second.text);
    assert!(second.text.contains("another landfall"), "{}", second.text);
    assert_eq!(journey.seen(), before);
    signal(&child, Signal::INT);
    child.wait().unwrap();
    goes_on(&journey);
}

#[test]
fn control_c_leaves_a_terminal_as_it_was() {
    let Some(journey) = Journey::new() else { return };
    journey.target.hangs(true);
    let words: Vec<String> = journey.args("bootstrap").iter().map(|w| quoted(w)).collect();
    let landfall = assert_cmd::cargo::cargo_bin!("landfall").display().to_string();
    let script = format!(
        "trap : INT; stty -g >$TMPDIR/before; {landfall} -C {} {} --until build; echo \"code=$?\"; \
         stty -g >$TMPDIR/after; echo finished",
        journey.config().display(),
        words.join(" ")
    );
    let mut shell = journey.command("sh");
    shell.env("TERM", "xterm-256color").args(["-c", &script]);
    let mut terminal = rexpect::session::spawn_command(shell, Some(60_000)).unwrap();
    wait_until(|| journey.target.is_waited_for());
    terminal.send_control('c').unwrap();
    let shown = terminal.exp_string("finished").unwrap();
    assert!(shown.contains("code=130"), "{shown}");
    let read = |name: &str| std::fs::read(journey.root.path().join("tmp").join(name)).unwrap();
    assert_eq!(read("before"), read("after"));
    let mut screen = vt100::Parser::new(size(60), size(120), 0);
    screen.process(shown.as_bytes());
    assert!(!screen.screen().hide_cursor());
    assert!(!screen.screen().alternate_screen());
    assert!(screen.screen().contents().contains("interrupted"), "{}", screen.screen().contents());
}

fn size(cells: u16) -> std::num::NonZero<u16> {
    std::num::NonZero::new(cells).unwrap()
}
