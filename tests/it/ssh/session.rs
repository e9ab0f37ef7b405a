//! Connections through the real OpenSSH, to a real sshd on loopback.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::common::sshd::{Sshd, free_port, is_root, keygen, user_name};
use landfall::error::{Advice, Exit};
use landfall::secret::Secret;
use landfall::ssh::{
    Endpoint, HostKey, Other, Privilege, Seen, Session, SshError, WaitError, identify, interactive,
    scan_key, wait_for,
};

const DEADLINE: Duration = Duration::from_secs(20);

fn open(server: &Sshd) -> Session {
    Session::open(&server.endpoint(), &server.host_key, server.dir.path(), DEADLINE).unwrap()
}

#[test]
fn the_offered_key_is_learned_without_logging_in() {
    let server = Sshd::start();
    let mut nobody = server.endpoint();
    nobody.identity_file = None;
    nobody.user = Some("no-such-user".into());
    assert_eq!(scan_key(&nobody, DEADLINE, None).unwrap(), server.host_key);
    let log = std::fs::read_to_string(server.dir.path().join("log")).unwrap();
    assert!(!log.contains("Accepted"), "{log}");
}

#[test]
fn a_key_of_a_named_kind_can_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let keys =
        ["ed25519", "rsa", "ecdsa"].map(|kind| keygen(dir.path(), &format!("host-{kind}"), kind));
    let server = Sshd::start_with(dir, &keys, "");
    let endpoint = server.endpoint();
    let rsa = scan_key(&endpoint, DEADLINE, Some("rsa-sha2-512")).unwrap();
    assert_eq!(rsa, keys[1].public);
    assert_eq!(identify(&endpoint, &[keys[2].public.clone()], DEADLINE).unwrap(), keys[2].public);
    let session = Session::open(&endpoint, &keys[1].public, server.dir.path(), DEADLINE).unwrap();
    assert_eq!(session.run(&["echo", "hello"]).read().unwrap(), "hello");
}

#[test]
fn commands_run_word_for_word_through_the_master() {
    let server = Sshd::start();
    let session = open(&server);
    assert!(session.alive());
    let words = [
        "",
        "two words",
        "it's",
        r"b\s",
        "$HOME",
        "`id`",
        "*",
        "a\nb",
        "é",
        "-n",
        ";",
        "~",
        "\"q\"",
    ];
    let argv = [&["printf", r"%s\0"][..], &words].concat();
    let output = session.run(&argv).run().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.split_terminator('\0').collect::<Vec<_>>(), words);
    assert_eq!(session.run(&["sh", "-c", "exit 7"]).run().unwrap_err().code(), Some(7));
    // One login only, however many commands.
    let log = std::fs::read_to_string(server.dir.path().join("log")).unwrap();
    assert_eq!(log.matches("Accepted publickey").count(), 1, "{log}");
}

#[test]
fn scripts_get_their_arguments_and_secrets_their_own_way_in() {
    let server = Sshd::start();
    let session = open(&server);
    let script = "cat >/dev/null # would eat the script\nprintf '%s|' \"$@\"";
    assert_eq!(session.script(script, &["a b", "c'd"]).read().unwrap(), "a b|c'd|");
    let file = server.dir.path().join("secret file");
    session
        .script_with_stdin("umask 077; cat >\"$1\"", &[file.to_str().unwrap()])
        .stdin(Secret::from("line one\nline two\n".to_owned()))
        .run()
        .unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap(), "line one\nline two\n");
}

#[test]
fn root_is_root_or_asks_sudo() {
    let server = Sshd::start();
    let session = open(&server);
    if is_root() {
        assert_eq!(session.privilege(), Privilege::Root);
        assert_eq!(session.root(&["id", "-u"]).read().unwrap(), "0");
        assert_eq!(session.root_script("id -u", &[]).read().unwrap(), "0");
    } else {
        assert_ne!(session.privilege(), Privilege::Root);
    }
}

#[test]
fn another_key_is_refused_and_both_are_shown() {
    let server = Sshd::start();
    let other = keygen(server.dir.path(), "other", "ed25519").public;
    let open = Session::open(&server.endpoint(), &other, server.dir.path(), DEADLINE);
    let error = open.unwrap_err();
    assert!(matches!(error, SshError::KeyMismatch { .. }), "{error:?}");
    assert_eq!(error.exit(), Exit::Person);
    let text = error.to_string();
    assert!(text.contains(&other.fingerprint()), "{text}");
    assert!(text.contains(&server.host_key.fingerprint()), "{text}");
    let identified = identify(&server.endpoint(), &[], DEADLINE).unwrap_err();
    assert!(matches!(identified, SshError::UnknownKey { .. }), "{identified:?}");
}

#[test]
fn a_key_of_another_kind_is_a_mismatch_too() {
    let server = Sshd::start();
    let rsa = keygen(server.dir.path(), "other", "rsa").public;
    for error in [
        Session::open(&server.endpoint(), &rsa, server.dir.path(), DEADLINE).unwrap_err(),
        identify(&server.endpoint(), std::slice::from_ref(&rsa), DEADLINE).unwrap_err(),
    ] {
        let SshError::KeyMismatch { offered, .. } = error else { panic!("{error:?}") };
        assert_eq!(offered, server.host_key);
    }
}

#[test]
fn a_closed_port_a_silent_one_and_a_wrong_name_are_told_apart() {
    let endpoint = |text: &str| text.parse::<Endpoint>().unwrap();
    let closed = endpoint(&format!("127.0.0.1:{}", free_port()));
    let error = scan_key(&closed, DEADLINE, None).unwrap_err();
    assert!(matches!(error, SshError::Refused { .. }), "{error:?}");
    assert_eq!(error.exit(), Exit::Failed);

    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let silent = endpoint(&format!("127.0.0.1:{}", listener.local_addr().unwrap().port()));
    let started = Instant::now();
    let error = scan_key(&silent, Duration::from_secs(2), None).unwrap_err();
    assert!(error.may_pass(), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(8));

    let error = scan_key(&endpoint("no-such-host.invalid"), DEADLINE, None).unwrap_err();
    assert!(matches!(error, SshError::Unreachable { .. }), "{error:?}");
}

#[test]
fn a_login_that_is_refused_says_so() {
    let server = Sshd::start();
    let mut endpoint = server.endpoint();
    endpoint.identity_file = Some(keygen(server.dir.path(), "stranger", "ed25519").private);
    let error =
        Session::open(&endpoint, &server.host_key, server.dir.path(), DEADLINE).unwrap_err();
    assert!(matches!(error, SshError::Auth { .. }), "{error:?}");
}

#[test]
fn options_that_weaken_the_check_never_reach_ssh() {
    let server = Sshd::start();
    let mut endpoint = server.endpoint();
    endpoint.options = vec!["StrictHostKeyChecking=no".into()];
    let open = Session::open(&endpoint, &server.host_key, server.dir.path(), DEADLINE);
    assert_eq!(open.unwrap_err().exit(), Exit::Usage);
    assert!(interactive(&endpoint, &server.host_key, server.dir.path(), &[], false).is_err());
    assert!(scan_key(&endpoint, DEADLINE, None).is_err());
}

#[test]
fn the_master_ends_with_the_session() {
    let server = Sshd::start();
    let session = open(&server);
    let opts = session.nix_ssh_opts();
    let socket =
        opts.split_whitespace().find_map(|arg| arg.strip_prefix("-oControlPath=")).unwrap();
    assert!(socket.len() <= 90, "{socket}");
    let socket = std::path::PathBuf::from(socket);
    assert!(socket.exists());
    let mode = socket.parent().unwrap().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    session.close();
    assert!(!socket.exists());
    assert!(!socket.parent().unwrap().exists());
}

#[test]
fn long_run_folders_and_odd_names_do_not_matter() {
    let server = Sshd::start();
    let run_dir = server.dir.path().join("a folder with spaces").join("x".repeat(120));
    std::fs::create_dir_all(&run_dir).unwrap();
    let key = run_dir.join("id with 100% 'odd' name");
    std::fs::copy(&server.user_key, &key).unwrap();
    let mut endpoint = server.endpoint();
    endpoint.identity_file = Some(key);
    let session = Session::open(&endpoint, &server.host_key, &run_dir, DEADLINE).unwrap();
    assert_eq!(session.run(&["echo", "here"]).read().unwrap(), "here");
    let out =
        interactive(&endpoint, &server.host_key, &run_dir, &["echo", "there"], false).unwrap();
    assert_eq!(out.read().unwrap(), "there");
}

#[test]
fn a_session_whose_master_died_still_checks_the_key() {
    let server = Sshd::start();
    let port = server.port;
    let session = open(&server);
    let dir = server.stop();
    // Another machine at the same address, that knows the same user.
    let thief = keygen(dir.path(), "thief", "ed25519");
    let _thief = Sshd::start_at(dir, port, &[thief], "");
    let until = Instant::now() + Duration::from_secs(10);
    while session.alive() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    let error = session.run(&["true"]).deadline(DEADLINE).run().unwrap_err();
    assert!(error.stderr().contains("Host key verification failed"), "{error}");
}

#[test]
fn a_second_sshd_can_be_reached_through_a_first() {
    let jump = Sshd::start();
    let server = Sshd::start();
    let known = jump.dir.path().join("jump_known_hosts");
    let line = jump.host_key.known_hosts_line(&format!("[127.0.0.1]:{}", jump.port));
    std::fs::write(&known, line).unwrap();
    let config = jump.dir.path().join("jump_config");
    std::fs::write(
        &config,
        format!(
            "Host jump\n HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile {}\n \
             UserKnownHostsFile {}\n StrictHostKeyChecking yes\n",
            jump.port,
            user_name(),
            jump.user_key.display(),
            known.display()
        ),
    )
    .unwrap();
    let mut endpoint = server.endpoint();
    endpoint.options = vec![format!("ProxyCommand=ssh -F {} -W %h:%p jump", config.display())];
    assert_eq!(scan_key(&endpoint, DEADLINE, None).unwrap(), server.host_key);
    let session = Session::open(&endpoint, &server.host_key, server.dir.path(), DEADLINE).unwrap();
    assert_eq!(session.run(&["echo", "through"]).read().unwrap(), "through");

    // A jump host that the operator's own ssh does not know ends it.
    endpoint.options = vec![format!("ProxyJump={}@127.0.0.1:{}", user_name(), jump.port)];
    let error = scan_key(&endpoint, DEADLINE, None).unwrap_err();
    assert!(matches!(error, SshError::JumpKey { .. }), "{error:?}");
    assert_eq!(error.exit(), Exit::Person);
}

fn the_installer(key: HostKey) -> Other {
    Other { name: "the installer".into(), key, may_stay: false }
}

#[test]
fn waiting_passes_over_nothing_and_the_installer_until_the_expected_one_comes() {
    let first = Sshd::start();
    let port = first.port;
    let installer = first.host_key.clone();
    let endpoint = first.endpoint();
    let installed = keygen(first.dir.path(), "installed", "ed25519");
    let expected = installed.public.clone();
    let run_dir = tempfile::tempdir().unwrap();
    let others = [the_installer(installer)];

    let (seen_by_test, seen) = std::sync::mpsc::channel();
    let session = std::thread::scope(|scope| {
        scope.spawn(move || {
            let seen_until = |wanted: fn(&Seen) -> bool| {
                while !wanted(&seen.recv_timeout(DEADLINE).unwrap()) {}
            };
            seen_until(|seen| matches!(seen, Seen::Other { name, .. } if name == "the installer"));
            let dir = first.stop();
            seen_until(|seen| matches!(seen, Seen::Nothing { .. }));
            let second = Sshd::start_at(dir, port, &[installed], "");
            // Kept until the waiting side has let go of its channel.
            while seen.recv().is_ok() {}
            drop(second);
        });
        let session = wait_for(
            &[endpoint],
            &expected,
            &others,
            run_dir.path(),
            Duration::from_secs(60),
            move |seen| seen_by_test.send(seen.clone()).unwrap(),
        );
        session.unwrap()
    });
    assert_eq!(session.key(), &expected);
}

#[test]
fn waiting_ends_at_once_for_a_key_that_nobody_knows() {
    let server = Sshd::start();
    let expected = keygen(server.dir.path(), "expected", "ed25519").public;
    let started = Instant::now();
    let error = wait_for(&[server.endpoint()], &expected, &[], server.dir.path(), DEADLINE, |_| {})
        .unwrap_err();
    assert!(matches!(error, WaitError::Ssh(SshError::KeyMismatch { .. })), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn waiting_ends_at_its_deadline_and_tells_what_it_saw_last() {
    let server = Sshd::start();
    let expected = keygen(server.dir.path(), "expected", "ed25519").public;
    let others = [the_installer(server.host_key.clone())];
    let error = wait_for(
        &[server.endpoint()],
        &expected,
        &others,
        server.dir.path(),
        Duration::from_secs(3),
        |_| {},
    )
    .unwrap_err();
    assert!(error.to_string().contains("the installer"), "{error}");
    assert_eq!(error.exit(), Exit::Person);
}

#[test]
fn store_urls_name_user_root_and_the_way_to_be_root() {
    let server = Sshd::start();
    let session = open(&server);
    let url = session.nix_store_url(Some("/mnt"));
    if is_root() {
        assert_eq!(url, "ssh-ng://root@127.0.0.1?remote-store=local%3Froot%3D/mnt");
    }
    assert!(session.nix_store_url(None).starts_with("ssh-ng://"));
    assert!(!session.nix_ssh_opts().contains(['\'', '"', '\n']));
}
