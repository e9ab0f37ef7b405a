//! The terminal is closed, or a signal comes, while a question waits for its answer: the
//! program ends at once, and leaves the terminal, the run and the connections in order.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::journey::{HOST, Journey, run};
use crate::common::pty::{Pty, ended};
use crate::common::sshd::{Sshd, user_name};
use landfall::error::Advice;
use landfall::exec::signals;
use landfall::ssh::{Endpoint, Session};
use landfall::ui::prompt::{Question, prompter};
use landfall::ui::{Screen, terminal};
use rustix::process::{Pid, Signal, kill_process};

/// A second, and what a machine under load adds to it.
const AT_ONCE: Duration = Duration::from_secs(4);
const DEADLINE: Duration = Duration::from_secs(60);
const INTERRUPTED: Option<i32> = Some(130);
/// Hands what it needs to the half of a test that is the program.
const PLACE: &str = "LANDFALL_TEST_TERMINAL";

fn demo() -> Command {
    let own = std::env::current_exe().unwrap();
    let demo = own.ancestors().nth(2).unwrap().join("examples/ui_demo");
    assert!(demo.exists(), "build it first: cargo build --example ui_demo");
    Command::new(demo)
}

const QUESTIONS: [(&str, &str); 5] = [
    ("--ask", "type S1"),
    ("--ask-yes", "Erase QEMU HARDDISK?"),
    ("--ask-which", "Which one?"),
    ("--ask-name", "Name?"),
    ("--ask-secret", "New passphrase: "),
];

#[test]
fn no_question_outlives_its_terminal() {
    for (flag, text) in QUESTIONS {
        let mut pty = Pty::start(demo().args(["--fast", flag]));
        pty.until(text);
        let mut child = pty.close();
        assert_eq!(ended(&mut child, AT_ONCE).code(), INTERRUPTED, "{flag}");
    }
}

#[test]
fn a_question_that_no_signal_reaches_ends_all_the_same() {
    for (flag, text) in QUESTIONS {
        let dir = tempfile::tempdir().unwrap();
        let code = dir.path().join("code");
        // The leader of the session stays; so nobody else is told that the terminal is gone.
        let mut leader = Command::new("sh");
        leader.args(["-c", r#"trap '' HUP; "$0" --fast "$1"; echo $? >"$2""#]);
        leader.arg(demo().get_program()).arg(flag).arg(&code);
        let mut pty = Pty::start(&leader);
        pty.until(text);
        ended(&mut pty.close(), AT_ONCE);
        assert_eq!(fs::read_to_string(&code).unwrap().trim(), "130", "{flag}");
    }
}

#[test]
fn a_signal_ends_every_question_and_what_is_typed_is_shown_again() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        for (flag, text) in QUESTIONS {
            let mut pty = Pty::start(demo().args(["--fast", flag]));
            pty.until(text);
            wait_until("the echo is off", || !pty.echoes());
            pty.signal(signal);
            let status = ended(&mut pty.child, AT_ONCE);
            assert_eq!(status.code(), INTERRUPTED, "{flag} {signal:?}");
            assert!(pty.echoes(), "{flag} {signal:?}");
        }
    }
}

#[test]
fn init_ends_with_its_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let mut init = Command::new(assert_cmd::cargo::cargo_bin!("landfall"));
    init.arg("init").arg(dir.path().join("src")).env("HOME", dir.path());
    let mut pty = Pty::start(&init);
    pty.until("?");
    assert_eq!(ended(&mut pty.close(), AT_ONCE).code(), INTERRUPTED);
    assert!(!dir.path().join("src").exists());
}

#[test]
fn a_key_that_is_read_from_the_terminal_ends_with_it() {
    for close in [true, false] {
        let mut keys = Command::new(assert_cmd::cargo::cargo_bin!("landfall"));
        keys.args(["keys", "to-age"]);
        let mut pty = Pty::start(&keys);
        std::thread::sleep(Duration::from_millis(500));
        let mut child = if close {
            pty.close()
        } else {
            pty.type_in("\x03");
            assert_eq!(ended(&mut pty.child, AT_ONCE).code(), INTERRUPTED);
            continue;
        };
        assert_eq!(ended(&mut child, AT_ONCE).code(), INTERRUPTED);
    }
}

#[test]
fn a_run_whose_terminal_is_closed_frees_its_lock() {
    let Some(journey) = Journey::new() else { return };
    let mut args = journey.args("bootstrap");
    args.retain(|word| word != "--yes");
    let at = args.iter().position(|word| word == "--installer-fingerprint").unwrap();
    args.drain(at..=at + 1);
    let mut bootstrap = journey.landfall();
    bootstrap.args(args);
    let mut pty = Pty::start(&bootstrap);
    pty.until("Is this the host key of 127.0.0.1?");
    assert_eq!(ended(&mut pty.close(), AT_ONCE).code(), INTERRUPTED);
    run(journey.landfall().args(["abandon", HOST, "--yes"])).succeeds();
}

#[test]
fn a_check_that_is_interrupted_finds_nothing() {
    let Some(journey) = Journey::new() else { return };
    for moment in (100..2000).step_by(300).map(Duration::from_millis) {
        let mut check = journey.landfall();
        check.args(journey.args("check")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = check.spawn().unwrap();
        std::thread::sleep(moment);
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        // A check that was faster has its result.
        if output.status.success() {
            break;
        }
        // The signal came before anybody heard it, or was heard.
        assert!(matches!(output.status.code(), INTERRUPTED | None), "{moment:?}: {text}");
        assert!(!text.contains("does not evaluate"), "{moment:?}: {text}");
    }
}

/// The half of the tests below that is the program: connected, it asks for a password.
#[test]
fn half_that_asks_while_it_is_connected() {
    let Ok(place) = std::env::var(PLACE) else { return };
    let mut lines = place.lines();
    let mut next = || lines.next().unwrap();
    let mut endpoint: Endpoint = format!("{}@127.0.0.1:{}", user_name(), next()).parse().unwrap();
    endpoint.identity_file = Some(next().into());
    let key = next().parse().unwrap();
    let run_dir = PathBuf::from(next());
    signals::install(terminal::restore);
    let session = Session::open(&endpoint, &key, &run_dir, DEADLINE).unwrap();
    let answer = prompter(false, Screen::still()).secret(&Question::new("Password", "--password"));
    drop(session);
    std::process::exit(answer.map_or_else(|error| error.exit() as i32, |_| 0));
}

fn half(server: &Sshd, run_dir: &Path) -> Command {
    let mut half = Command::new(std::env::current_exe().unwrap());
    half.args([
        "--exact",
        "--nocapture",
        "attacks::terminal::half_that_asks_while_it_is_connected",
    ]);
    let key = server.user_key.display();
    let dir = run_dir.display();
    half.env(PLACE, format!("{}\n{key}\n{}\n{dir}", server.port, server.host_key));
    half
}

/// The masters to `server`.
fn masters(server: &Sshd) -> usize {
    let port = format!("-p\0{}\0", server.port);
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|it| fs::read(it.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        // The master calls itself by its socket.
        .filter(|line| line.starts_with("ssh: ") && line.contains("[mux]") || line.contains(&port))
        .filter(|line| line.contains(&server.dir.path().display().to_string()))
        .count()
}

/// The folder of a run of `guppy`, in a home below the server's folder.
fn run_dir(server: &Sshd) -> PathBuf {
    let dir = server.dir.path().join("s/landfall/guppy/6f1c1f7e-0b0e-4f5e-9d5d-0a8f7d1f2c3b");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("journal.jsonl"), "").unwrap();
    dir
}

fn landfall_ssh(server: &Sshd) {
    let mut ssh = Command::new(assert_cmd::cargo::cargo_bin!("landfall"));
    ssh.args(["ssh", "guppy"]).env("XDG_STATE_HOME", server.dir.path().join("s"));
    let output = ssh.env("HOME", server.dir.path()).output().unwrap();
    // No run has installed it: the command has nothing else to do.
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[track_caller]
fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !reached() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_signal_at_a_password_ends_the_connection() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Sshd::start();
        let dir = run_dir(&server);
        let mut pty = Pty::start(&half(&server, &dir));
        pty.until("Password: ");
        assert_eq!(masters(&server), 1);
        pty.signal(signal);
        assert_eq!(ended(&mut pty.child, AT_ONCE).code(), INTERRUPTED, "{signal:?}");
        assert!(pty.echoes());
        wait_until("the master ends", || masters(&server) == 0);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }
}

#[test]
fn the_next_command_ends_the_connection_of_a_killed_one_and_no_other() {
    let server = Sshd::start();
    let dir = run_dir(&server);
    let mut living = Pty::start(&half(&server, &dir));
    living.until("Password: ");
    let mut killed = Pty::start(&half(&server, &dir));
    killed.until("Password: ");
    killed.signal(Signal::KILL);
    ended(&mut killed.child, AT_ONCE);
    assert_eq!(masters(&server), 2);
    landfall_ssh(&server);
    wait_until("the left-over master ends", || masters(&server) == 1);
    assert_eq!(fs::read_dir(dir.join("masters")).unwrap().count(), 1);
    living.type_in("a password\n");
    assert_eq!(ended(&mut living.child, AT_ONCE).code(), Some(0));
    wait_until("the master ends", || masters(&server) == 0);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
}
