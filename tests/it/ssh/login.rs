//! Logins that take an answer: passwords, passphrases, jump hosts, agents; with the real
//! ssh, which asks through landfall's own program.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::sshd::{Sshd, keygen, user_name};
use crate::common::users::{LOGIN, PASSWORD, Rules, endpoint, machine};
use landfall::error::{Advice, Exit};
use landfall::run::event::{Event, Events, Stamped};
use landfall::secret::Secret;
use landfall::ssh::{Askpass, AskpassResponder, Endpoint, Session, SshError, scan_key};
use landfall::ui::prompt::{PromptError, Prompter, Question, Unattended};

const DEADLINE: Duration = Duration::from_secs(60);
const BY_PASSWORD: &str = "PasswordAuthentication yes\nPubkeyAuthentication no";

/// Somebody at the terminal, who knows the answers to some questions.
#[derive(Debug, Default)]
struct Person {
    knows: Vec<(&'static str, Vec<&'static str>)>,
    asked: Mutex<Vec<Question>>,
}

impl Person {
    fn who_knows(knows: &[(&'static str, &[&'static str])]) -> Arc<Self> {
        let knows = knows.iter().map(|(question, answers)| (*question, answers.to_vec())).collect();
        Arc::new(Self { knows, asked: Mutex::default() })
    }

    fn was_asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|question| question.text.clone()).collect()
    }
}

impl Prompter for Person {
    fn is_interactive(&self) -> bool {
        true
    }
    fn secret(&self, question: &Question) -> Result<Secret, PromptError> {
        let mut asked = self.asked.lock().unwrap();
        let before = asked.iter().filter(|before| before.text == question.text).count();
        asked.push(question.clone());
        let answers = self.knows.iter().find(|(known, _)| question.text.contains(known));
        let answer = answers.and_then(|(_, answers)| answers.get(before));
        let unknown = || PromptError::Interrupted { question: question.text.clone() };
        answer.map(|answer| Secret::from((*answer).to_owned())).ok_or_else(unknown)
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

fn serve(
    dir: &Path,
    prompter: Arc<dyn Prompter>,
    password: Option<&str>,
) -> (Askpass, std::sync::mpsc::Receiver<Stamped>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let password = password.map(|password| Secret::from(password.to_owned()));
    let desk =
        AskpassResponder::new("guppy.lan".into(), prompter, Events::new("guppy", sender), password);
    let program = assert_cmd::cargo::cargo_bin!("landfall");
    (Askpass::serve(program, dir, desk).unwrap(), receiver)
}

fn asking(endpoint: Endpoint, askpass: &Askpass) -> Endpoint {
    Endpoint { askpass: Some(askpass.clone()), may_ask: true, identity_file: None, ..endpoint }
}

#[test]
fn a_password_is_asked_for_once_however_many_connections_follow() {
    let rules = Rules { sshd: BY_PASSWORD, ..Rules::default() };
    let Some(server) = machine(&rules) else { return };
    let person = Person::who_knows(&[("Password of lander", &["wrong", PASSWORD])]);
    let (askpass, _events) = serve(server.dir.path(), person.clone(), None);
    let endpoint = asking(endpoint(&server), &askpass);
    for _ in 0..2 {
        let session =
            Session::open(&endpoint, &server.host_key, server.dir.path(), DEADLINE).unwrap();
        assert_eq!(session.run(&["id", "-un"]).read().unwrap(), LOGIN);
        assert_eq!(session.run(&["echo", "again"]).read().unwrap(), "again");
    }
    assert_eq!(person.was_asked(), ["Password of lander on guppy.lan"; 2]);
    let second = person.asked.lock().unwrap()[1].detail.clone();
    assert_eq!(second, ["What was given before was not right."]);
    let log = server.log();
    assert_eq!(log.matches("Accepted password").count(), 2, "{log}");
    assert_eq!(log.matches("Failed password").count(), 1, "{log}");
}

#[test]
fn the_password_of_the_environment_is_for_the_target_and_tried_once() {
    let rules = Rules { sshd: BY_PASSWORD, ..Rules::default() };
    let Some(server) = machine(&rules) else { return };
    let nobody = || Arc::new(Unattended { yes: true });
    let (askpass, _events) = serve(server.dir.path(), nobody(), Some(PASSWORD));
    let good = asking(endpoint(&server), &askpass);
    Session::open(&good, &server.host_key, server.dir.path(), DEADLINE).unwrap();

    let (askpass, _events) = serve(server.dir.path(), nobody(), Some("wrong"));
    let wrong = asking(endpoint(&server), &askpass);
    let error = Session::open(&wrong, &server.host_key, server.dir.path(), DEADLINE).unwrap_err();
    assert!(matches!(&error, SshError::Auth { why, .. } if why.contains("not right")), "{error:?}");
    let log = server.log();
    assert_eq!(log.matches("Accepted password").count(), 1, "{log}");
    // The refusal to say it again is no empty password.
    assert_eq!(log.matches("Failed password").count(), 1, "{log}");
}

#[test]
fn where_nobody_can_answer_nothing_is_tried() {
    let rules = Rules { sshd: BY_PASSWORD, ..Rules::default() };
    let Some(server) = machine(&rules) else { return };
    let nobody = Arc::new(Unattended { yes: true });
    let (askpass, _events) = serve(server.dir.path(), nobody, None);
    let endpoint = asking(endpoint(&server), &askpass);
    let error =
        Session::open(&endpoint, &server.host_key, server.dir.path(), DEADLINE).unwrap_err();
    assert!(matches!(error, SshError::Auth { .. }), "{error:?}");
    assert!(error.hint().contains("--env-password"), "{}", error.hint());
    assert!(!server.log().contains("Failed password"), "{}", server.log());
}

#[test]
fn a_man_in_the_middle_gets_no_password() {
    let rules = Rules { sshd: BY_PASSWORD, ..Rules::default() };
    let Some(server) = machine(&rules) else { return };
    let expected = keygen(server.dir.path(), "expected", "ed25519").public;
    let nobody = Arc::new(Unattended { yes: true });
    let (askpass, _events) = serve(server.dir.path(), nobody, Some(PASSWORD));
    let endpoint = asking(endpoint(&server), &askpass);
    let error = Session::open(&endpoint, &expected, server.dir.path(), DEADLINE).unwrap_err();
    assert!(matches!(error, SshError::KeyMismatch { .. }), "{error:?}");
    let log = server.log();
    for word in ["password", "Accepted", "Failed", "authenticating user", "Invalid user"] {
        assert!(!log.contains(word), "{log}");
    }
}

/// An ssh_config in which `jump` is `server`, and the option that leads through it.
fn through(server: &Sshd, login: &str, more: &str) -> String {
    let known = server.dir.path().join("jump_known_hosts");
    let line = server.host_key.known_hosts_line(&format!("[127.0.0.1]:{}", server.port));
    fs::write(&known, line).unwrap();
    let config = server.dir.path().join("jump_config");
    fs::write(
        &config,
        format!(
            "Host jump\n HostName 127.0.0.1\n Port {}\n User {login}\n \
             UserKnownHostsFile {}\n StrictHostKeyChecking yes\n{more}\n",
            server.port,
            known.display()
        ),
    )
    .unwrap();
    format!("ProxyCommand=ssh -F {} -W %h:%p jump", config.display())
}

#[test]
fn the_person_is_told_which_machine_a_password_is_for() {
    let jump = Rules { sshd: BY_PASSWORD, password: "jump's own", ..Rules::default() };
    let Some(jump) = machine(&jump) else { return };
    let Some(server) = machine(&Rules { sshd: BY_PASSWORD, ..Rules::default() }) else { return };
    let person = Person::who_knows(&[
        ("Password of lander@127.0.0.1, a jump host", &["jump's own"]),
        ("Password of lander on guppy.lan", &[PASSWORD]),
    ]);
    let (askpass, _events) = serve(server.dir.path(), person.clone(), None);
    let mut endpoint = asking(endpoint(&server), &askpass);
    endpoint.options = vec![through(&jump, LOGIN, "")];
    assert_eq!(scan_key(&endpoint, DEADLINE, None).unwrap(), server.host_key);
    let session = Session::open(&endpoint, &server.host_key, server.dir.path(), DEADLINE).unwrap();
    assert_eq!(session.run(&["echo", "through"]).read().unwrap(), "through");
    assert_eq!(
        person.was_asked(),
        ["Password of lander@127.0.0.1, a jump host", "Password of lander on guppy.lan"]
    );

    // What is only repeated needs nobody.
    endpoint.may_ask = false;
    assert_eq!(scan_key(&endpoint, DEADLINE, None).unwrap(), server.host_key);
    assert_eq!(person.was_asked().len(), 2);

    // The target's password is not for the jump host, whoever asks for it.
    let nobody = Arc::new(Unattended { yes: true });
    let (askpass, _events) = serve(server.dir.path(), nobody, Some("jump's own"));
    endpoint = asking(endpoint, &askpass);
    let error = scan_key(&endpoint, DEADLINE, None).unwrap_err();
    assert!(
        matches!(&error, SshError::Unanswered { question, .. }
        if question.contains("a jump host")),
        "{error:?}"
    );
    assert_eq!(error.exit(), Exit::Person);
}

fn lock(key: &Path) {
    let locked = Command::new("ssh-keygen")
        .args(["-q", "-p", "-P", "", "-N", "open sesame", "-f"])
        .arg(key)
        .status();
    assert!(locked.unwrap().success());
}

#[test]
fn a_passphrase_is_asked_for_once_and_only_where_somebody_may_be_asked() {
    let server = Sshd::start();
    lock(&server.user_key);
    let silent = Session::open(&server.endpoint(), &server.host_key, server.dir.path(), DEADLINE);
    assert!(matches!(silent, Err(SshError::Auth { .. })), "{silent:?}");

    let person = Person::who_knows(&[("Passphrase of key", &["open sesame"])]);
    let (askpass, _events) = serve(server.dir.path(), person.clone(), None);
    let endpoint = Endpoint {
        identity_file: Some(server.user_key.clone()),
        ..asking(server.endpoint(), &askpass)
    };
    for _ in 0..2 {
        let session =
            Session::open(&endpoint, &server.host_key, server.dir.path(), DEADLINE).unwrap();
        assert_eq!(session.run(&["echo", "twice"]).read().unwrap(), "twice");
    }
    let key = server.user_key.display();
    assert_eq!(person.was_asked(), [format!("Passphrase of key '{key}'")]);
}

/// A real agent, for as long as the test runs.
struct Agent {
    dir: tempfile::TempDir,
    process: std::process::Child,
}

impl Agent {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent");
        let process = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).spawn().unwrap();
        while !socket.exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { dir, process }
    }

    fn option(&self) -> String {
        format!("IdentityAgent={}", self.dir.path().join("agent").display())
    }

    fn add(&self, key: &Path) {
        let added = Command::new("ssh-add")
            .env("SSH_AUTH_SOCK", self.dir.path().join("agent"))
            .args(["-q"])
            .arg(key)
            .status();
        assert!(added.unwrap().success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn an_agent_with_many_keys_needs_the_public_half_of_the_right_one() {
    let server = Sshd::start();
    let agent = Agent::start();
    for number in 0..8 {
        agent.add(&keygen(agent.dir.path(), &format!("other{number}"), "ed25519").private);
    }
    agent.add(&server.user_key);
    fs::remove_file(&server.user_key).unwrap();
    let mut endpoint = server.endpoint();
    endpoint.identity_file = None;
    endpoint.options = vec![agent.option()];
    let open = |endpoint: &Endpoint| {
        Session::open(endpoint, &server.host_key, server.dir.path(), DEADLINE)
    };
    let error = open(&endpoint).unwrap_err();
    assert!(error.hint().contains("-i FILE"), "{error:?}");
    assert!(error.hint().contains("more keys than"), "{}", error.hint());

    endpoint.identity_file = Some(server.user_key.with_extension("pub"));
    let session = open(&endpoint).unwrap();
    assert_eq!(session.run(&["echo", "in"]).read().unwrap(), "in");
    assert_eq!(session.run(&["id", "-un"]).read().unwrap(), user_name());
}

#[test]
fn what_ssh_tells_while_it_works_is_passed_on() {
    let dir = tempfile::tempdir().unwrap();
    let (askpass, events) = serve(dir.path(), Arc::new(Unattended { yes: true }), None);
    let folder = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let told = Command::new(folder.join("landfall-ask"))
        .arg("Confirm user presence for key ED25519-SK")
        .env("SSH_ASKPASS_PROMPT", "none")
        .output()
        .unwrap();
    assert!(told.status.success() && told.stdout.is_empty());
    let event = events.recv_timeout(DEADLINE).unwrap().event;
    assert!(matches!(&event, Event::Note { text } if text.contains("user presence")), "{event:?}");
    // A host key is never decided here.
    let refused = Command::new(folder.join("landfall-ask"))
        .arg("Are you sure you want to continue connecting (yes/no/[fingerprint])? ")
        .output()
        .unwrap();
    assert!(!refused.status.success() && refused.stdout.is_empty());
    drop(askpass);
}
