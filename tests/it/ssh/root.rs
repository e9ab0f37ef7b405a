//! Commands that become root's on a machine where another user logs in, by the real
//! sudo and doas.

use std::fs;
use std::time::Duration;

use crate::common::sshd::Sshd;
use crate::common::users::{LOGIN, PASSWORD, Rules, endpoint, machine};
use landfall::secret::Secret;
use landfall::ssh::{PasswordProgram, Privilege, Session};

const DEADLINE: Duration = Duration::from_secs(60);
const WITH_PASSWORD: Rules =
    Rules { sudoers: "lander ALL=(ALL:ALL) ALL", doas: "", password: "", sshd: "" };

fn open(server: &Sshd) -> Session {
    Session::open(&endpoint(server), &server.host_key, server.dir.path(), DEADLINE).unwrap()
}

fn password() -> Secret {
    Secret::from(PASSWORD.to_owned())
}

/// Whatever goes in as root arrives as it is, and nothing else.
fn is_root_word_for_word(session: &Session) {
    assert!(session.can_be_root());
    assert_eq!(session.run(&["id", "-un"]).read().unwrap(), LOGIN);
    assert_eq!(session.root(&["id", "-u"]).read().unwrap(), "0");
    assert_eq!(session.root(&["cat"]).read().unwrap(), "");
    assert_eq!(
        session.root_script("id -u; printf '%s|' \"$@\"", &["a b", "c'd"]).read().unwrap(),
        "0\na b|c'd|"
    );
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let echoed = session.root(&["cat"]).input(bytes.clone()).run().unwrap();
    assert!(echoed.stdout == bytes, "{} bytes came back", echoed.stdout.len());
    let echoed = session.root_script_with_stdin("cat", &[]).stdin(password()).run().unwrap();
    assert_eq!(echoed.stdout, PASSWORD.as_bytes());
    let failed = session.root(&["sh", "-c", "echo why >&2; exit 7"]).run().unwrap_err();
    assert_eq!((failed.code(), failed.stderr()), (Some(7), "why\n"));
}

#[test]
fn sudo_takes_the_password_over_standard_input() {
    let Some(server) = machine(&WITH_PASSWORD) else { return };
    let mut session = open(&server);
    assert_eq!(session.privilege(), Privilege::None);
    assert_eq!(session.asks_for_password(), Some(PasswordProgram::Sudo));
    assert!(session.root(&["id", "-u"]).run().is_err());

    let said = session.use_sudo_password(Secret::from("wrong".to_owned())).unwrap().unwrap_err();
    assert!(said.contains("incorrect password"), "{said}");
    assert!(!session.can_be_root());

    session.use_sudo_password(password()).unwrap().unwrap();
    assert_eq!(session.privilege(), Privilege::SudoPassword);
    is_root_word_for_word(&session);
    let command = session.root(&["id"]).to_string();
    assert!(!command.contains(PASSWORD), "{command}");
}

#[test]
fn a_password_that_sudo_does_not_ask_for_reaches_no_command() {
    // For this one command sudo asks nothing, whatever it is told.
    let rules = Rules {
        sudoers: "lander ALL=(ALL:ALL) ALL\nlander ALL=(ALL:ALL) NOPASSWD: /bin/sh, /usr/bin/sh",
        ..WITH_PASSWORD
    };
    let Some(server) = machine(&rules) else { return };
    let mut session = open(&server);
    session.use_sudo_password(password()).unwrap().unwrap();
    is_root_word_for_word(&session);
}

#[test]
fn sudo_and_doas_without_a_password_need_nothing() {
    let sudo = Rules { sudoers: "lander ALL=(ALL:ALL) NOPASSWD: ALL", ..Rules::default() };
    let doas = Rules { doas: "permit nopass lander as root", ..Rules::default() };
    for (rules, privilege) in [(sudo, Privilege::Sudo), (doas, Privilege::Doas)] {
        let Some(server) = machine(&rules) else { return };
        let session = open(&server);
        assert_eq!(session.privilege(), privilege);
        is_root_word_for_word(&session);
    }
}

#[test]
fn a_user_who_may_not_is_told_so() {
    let Some(server) = machine(&Rules::default()) else { return };
    let mut session = open(&server);
    assert!(!session.can_be_root());
    let said = session.use_sudo_password(password()).unwrap().unwrap_err();
    assert!(said.contains("not in the sudoers file"), "{said}");
}

#[test]
fn nothing_is_written_on_the_machine_to_become_root() {
    let Some(server) = machine(&WITH_PASSWORD) else { return };
    let home = server.dir.path().join("home");
    fs::remove_dir(&home).unwrap();
    let mut session = open(&server);
    session.use_sudo_password(password()).unwrap().unwrap();
    assert_eq!(session.root(&["id", "-u"]).read().unwrap(), "0");
    assert!(!home.exists());
}
