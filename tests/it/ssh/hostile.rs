//! The operator's own ssh_config may say anything: the pin holds, and what landfall
//! needs works. And a second sshd in the place of the expected one learns nothing.

use std::fs;
use std::time::Duration;

use crate::common::sshd::{Sshd, is_root, keygen, user_name};
use crate::common::{have, skipped};
use landfall::secret::Secret;
use landfall::ssh::known;
use landfall::ssh::{
    Endpoint, Session, SshError, WaitError, identify, interactive, scan_key, wait_for,
};

const DEADLINE: Duration = Duration::from_secs(60);
/// Hands what it needs to the other half of the test, which has another /etc/ssh.
const PLACE: &str = "LANDFALL_TEST_HOSTILE";
/// The name of that test in this program.
const NAME: &str = "ssh::hostile::a_thief_that_the_operators_settings_let_in_is_refused";

/// An sshd with a key of its own that would let the user in, and tells of every attempt.
fn thief(server: &Sshd) -> Sshd {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(&server.user_key, dir.path().join("user")).unwrap();
    fs::copy(server.user_key.with_extension("pub"), dir.path().join("user.pub")).unwrap();
    let key = keygen(dir.path(), "host", "ed25519");
    Sshd::start_with(dir, &[key], "LogLevel DEBUG1")
}

#[test]
fn a_thief_that_the_operators_settings_let_in_is_refused() {
    if let Ok(place) = std::env::var(PLACE) {
        return with_hostile_settings(&place);
    }
    if !is_root() {
        return skipped("another /etc/ssh needs root");
    }
    if !have("unshare") {
        return;
    }
    let server = Sshd::start();
    let thief = thief(&server);
    let trap = server.dir.path().join("trap");
    fs::create_dir(&trap).unwrap();
    let thiefs = thief.host_key.known_hosts_line("*");
    fs::write(trap.join("known"), format!("{thiefs}\n")).unwrap();
    let shown = format!("/bin/echo {thiefs}");
    let dir = trap.display();
    fs::write(
        trap.join("ssh_config"),
        format!(
            "Match exec \"touch {dir}/matched\"\n StrictHostKeyChecking no\n\
             Host *\n StrictHostKeyChecking no\n UserKnownHostsFile {dir}/known\n \
             GlobalKnownHostsFile {dir}/known\n KnownHostsCommand {shown}\n \
             HostKeyAlias thief\n CheckHostIP yes\n VerifyHostKeyDNS yes\n UpdateHostKeys yes\n \
             NoHostAuthenticationForLocalhost yes\n HostKeyAlgorithms +ssh-rsa\n \
             CanonicalizeHostname always\n CanonicalizeFallbackLocal yes\n \
             ControlMaster auto\n ControlPath {dir}/master\n ControlPersist 60\n \
             RemoteCommand touch {dir}/remote\n RequestTTY force\n SessionType none\n \
             StdinNull yes\n PermitLocalCommand yes\n \
             LocalCommand touch {dir}/local\n LogLevel QUIET\n BatchMode yes\n \
             ForwardAgent yes\n VisualHostKey yes\n LocalForward 127.0.0.1:1 x:1\n\
             Match final host *\n StrictHostKeyChecking no\n HostKeyAlias thief\n"
        ),
    )
    .unwrap();

    let mut half = std::process::Command::new("unshare");
    half.args([
        "--mount",
        "--",
        "sh",
        "-c",
        "mount --bind \"$0\" /etc/ssh/ssh_config && exec \"$@\"",
    ]);
    half.arg(trap.join("ssh_config")).arg(std::env::current_exe().unwrap());
    half.args(["--exact", "--nocapture", NAME]);
    let key = server.user_key.display();
    let place = format!("{}\n{}\n{key}\n{}", server.port, thief.port, server.host_key);
    let output = half.env(PLACE, place).env("HOME", server.dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    // The settings were read.
    assert!(trap.join("matched").exists());
    for mark in ["master", "remote", "local"] {
        assert!(!trap.join(mark).exists(), "{mark}");
    }
    assert!(thief.log().contains("SSH2_MSG_KEXINIT"), "{}", thief.log());
    assert_eq!(thief.attempts(), 0, "{}", thief.log());
}

fn with_hostile_settings(place: &str) {
    let mut lines = place.lines();
    let mut next = || lines.next().unwrap();
    let endpoint =
        |port: &str| format!("{}@127.0.0.1:{port}", user_name()).parse::<Endpoint>().unwrap();
    let (mut server, mut thief) = (endpoint(next()), endpoint(next()));
    let user_key = next();
    server.identity_file = Some(user_key.into());
    thief.identity_file = Some(user_key.into());
    let key = next().parse().unwrap();
    let dir = tempfile::tempdir().unwrap();

    assert_ne!(scan_key(&thief, DEADLINE, None).unwrap(), key);
    let error = Session::open(&thief, &key, dir.path(), DEADLINE).unwrap_err();
    assert!(matches!(error, SshError::KeyMismatch { .. }), "{error:?}");
    let error = identify(&thief, std::slice::from_ref(&key), DEADLINE).unwrap_err();
    assert!(matches!(error, SshError::KeyMismatch { .. }), "{error:?}");
    assert!(interactive(&thief, &key, dir.path(), &["true"], false).unwrap().run().is_err());
    let error = wait_for(&[thief], &key, &[], dir.path(), DEADLINE, |_| {}).unwrap_err();
    assert!(matches!(error, WaitError::Ssh(SshError::KeyMismatch { .. })), "{error:?}");

    let session = Session::open(&server, &key, dir.path(), DEADLINE).unwrap();
    assert_eq!(session.run(&["echo", "works"]).read().unwrap(), "works");
    let fed = session.script_with_stdin("cat", &[]).stdin(Secret::from("a secret".to_owned()));
    assert_eq!(fed.read().unwrap(), "a secret");
    let here = interactive(&server, &key, dir.path(), &["echo", "too"], false).unwrap();
    assert!(here.deadline(DEADLINE).read().unwrap().contains("too"));
    // What the settings say of the name is what the operator's own ssh goes by.
    assert_eq!(known(&server).unwrap().keys.len(), 1);
}

#[test]
fn at_the_reboot_another_machine_at_the_address_learns_nothing() {
    let server = Sshd::start();
    let (endpoint, port, key) = (server.endpoint(), server.port, server.host_key.clone());
    let thief = thief(&server);
    let dir = server.stop();
    let stolen = thief.host_key.clone();
    let thiefs = thief.stop();
    let host = crate::common::sshd::KeyPair { private: thiefs.path().join("host"), public: stolen };
    let thief = Sshd::start_at(thiefs, port, &[host], "LogLevel DEBUG1");
    let error = wait_for(&[endpoint], &key, &[], dir.path(), DEADLINE, |_| {}).unwrap_err();
    assert!(matches!(error, WaitError::Ssh(SshError::KeyMismatch { .. })), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&key.fingerprint()) && text.contains(&thief.host_key.fingerprint()));
    assert_eq!(thief.attempts(), 0, "{}", thief.log());
}

#[test]
fn a_machine_that_moved_is_found_by_its_key_and_no_other_is_taken_for_it() {
    let server = Sshd::start();
    let thief = thief(&server);
    let mut old = server.endpoint();
    old.port = Some(crate::common::sshd::free_port());
    let places = [old.clone(), thief.endpoint(), server.endpoint()];
    let dir = server.dir.path();
    let session = wait_for(&places, &server.host_key, &[], dir, DEADLINE, |_| {}).unwrap();
    assert_eq!(session.endpoint().port, Some(server.port));
    assert_eq!(thief.attempts(), 0, "{}", thief.log());

    let places = [old, thief.endpoint()];
    let limit = Duration::from_secs(15);
    let error = wait_for(&places, &server.host_key, &[], dir, limit, |_| {}).unwrap_err();
    assert!(matches!(error, WaitError::Deadline { .. }), "{error:?}");
    assert_eq!(thief.attempts(), 0, "{}", thief.log());
}

#[test]
fn options_take_effect() {
    let server = Sshd::start();
    let mut endpoint = server.endpoint();
    endpoint.identity_file = None;
    endpoint.options = vec![
        format!("IdentityFile={}", server.user_key.display()),
        "IdentitiesOnly yes".into(),
        "ServerAliveInterval=7".into(),
        "ConnectTimeout=11".into(),
    ];
    let session = Session::open(&endpoint, &server.host_key, server.dir.path(), DEADLINE).unwrap();
    assert_eq!(session.run(&["echo", "in"]).read().unwrap(), "in");
    let command = session.run(&["true"]).to_string();
    let first = |ours: &str, users: &str| {
        command.find(users).unwrap() < command.find(ours).unwrap_or(usize::MAX)
    };
    assert!(first("ServerAliveInterval=15", "ServerAliveInterval=7"), "{command}");
    assert!(first("ConnectTimeout=10", "ConnectTimeout=11"), "{command}");
}

#[test]
fn addresses_of_every_form_are_reached() {
    let dir = tempfile::tempdir().unwrap();
    let key = keygen(dir.path(), "host", "ed25519");
    let server = Sshd::start_with(dir, &[key], "ListenAddress ::1");
    let at = |host: &str| {
        let target = format!("{}@[{host}]:{}", user_name(), server.port);
        let endpoint: Endpoint = target.parse().unwrap();
        Endpoint { identity_file: Some(server.user_key.clone()), ..endpoint }
    };
    for host in ["::1", "::1%lo"] {
        let endpoint = at(host);
        match scan_key(&endpoint, DEADLINE, None) {
            Ok(offered) => assert_eq!(offered, server.host_key),
            Err(SshError::Unreachable { why, .. } | SshError::Refused { why, .. }) => {
                return skipped(&format!("no IPv6 here: {why}"));
            }
            Err(error) => panic!("{error:?}"),
        }
        let dir = server.dir.path();
        let session = Session::open(&endpoint, &server.host_key, dir, DEADLINE).unwrap();
        assert_eq!(session.run(&["echo", host]).read().unwrap(), host);
        let url = session.nix_store_url(None);
        assert!(!url.contains('%'), "{url}");
        let named = session.nix_ssh_opts().contains("-oHostName=::1%%lo");
        assert_eq!(named, host.contains('%'));
        // As nix calls ssh when the master is gone.
        let name = url.rsplit_once('@').unwrap().1.trim_matches(['[', ']']).to_owned();
        let opts = session.nix_ssh_opts().replace("-oControlPath=", "-oControlPath=/nowhere");
        let mut ssh = std::process::Command::new("ssh");
        let output = ssh.args(opts.split(' ')).args([&name, "echo", "there"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "there", "{output:?}");
    }
}
