//! Exit codes: 0 done, 1 failed, 2 wrong use or configuration, 3 needs a person, 130
//! interrupted.
//!
//! Scripts decide by these alone. A table tells all that is wrong in it at once.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::journey::{HOST, Journey, Ran, run};
use crate::common::secrets::Home;
use crate::common::sshd::{free_port, keygen};
use crate::common::{FAILED, PERSON, USAGE};

const DONE: i32 = 0;
const INTERRUPTED: i32 = 130;

/// Collects what ended in another way than it should.
#[derive(Default)]
struct Table(Vec<String>);

impl Table {
    /// Runs a command, which must end with this code.
    fn row(&mut self, name: &str, command: &mut Command, code: i32) -> Ran {
        let ran = run(command);
        if ran.code != Some(code) {
            self.0.push(format!("{name}: {:?}, not {code}\n{}", ran.code, ran.text));
        }
        ran
    }

    #[track_caller]
    fn holds(self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n"));
    }
}

/// What is decided before any machine or repository is looked at: in an empty folder.
const ANYWHERE: &[(i32, &str)] = &[
    (DONE, "--help"),
    (DONE, "-h"),
    (DONE, "--version"),
    (DONE, "-V"),
    (DONE, "help bootstrap"),
    (DONE, "bootstrap --help"),
    (DONE, "completions bash"),
    (DONE, "man"),
    (DONE, "status"),
    (DONE, "status --json"),
    (DONE, "-C /no/such status"),
    // Commands and flags that are none, or lack something, or contradict each other.
    (USAGE, ""),
    (USAGE, "boostrap"),
    (USAGE, "--no-such-flag"),
    (USAGE, "status --no-such-flag"),
    (USAGE, "bootstrap"),
    (USAGE, "plan"),
    (USAGE, "check"),
    (USAGE, "install"),
    (USAGE, "log"),
    (USAGE, "abandon"),
    (USAGE, "sync"),
    (USAGE, "passphrase"),
    (USAGE, "ssh"),
    (USAGE, "host"),
    (USAGE, "host add"),
    (USAGE, "keys"),
    (USAGE, "secrets"),
    (USAGE, "secrets verify"),
    (USAGE, "secrets add-host guppy"),
    (USAGE, "iso"),
    (USAGE, "completions"),
    (USAGE, "completions tcsh"),
    (USAGE, "--log-format xml status"),
    (USAGE, "--color sometimes status"),
    (USAGE, "plan h --format png"),
    (USAGE, "plan h --json --format svg"),
    (USAGE, "log h no-such-step"),
    (USAGE, "bootstrap h t --until no-such-step"),
    (USAGE, "bootstrap h t --only check --until build"),
    (USAGE, "bootstrap h t --no-push --push-branch b"),
    (USAGE, "bootstrap h t --target-host t"),
    (USAGE, "bootstrap h t --kexec i --no-kexec"),
    (USAGE, "bootstrap h t --kexec-sha256 x"),
    (USAGE, "bootstrap h t -p 65536"),
    (USAGE, "bootstrap h t --build-on nowhere"),
    (USAGE, "bootstrap h t --disko-mode erase"),
    (USAGE, "install .#h t --phases disk"),
    (USAGE, "install .#h t --stop-after-disko --no-reboot"),
    (USAGE, "secrets add-host h --key k --rule ("),
    (USAGE, "iso build --customize"),
    (USAGE, "init d --layout zfs"),
    // What is not there.
    (USAGE, "status guppy"),
    (USAGE, "log guppy"),
    (USAGE, "abandon guppy"),
    (USAGE, "abandon guppy --undo --yes"),
    (USAGE, "ssh guppy"),
    (USAGE, "ssh guppy --initrd"),
    (USAGE, "plan guppy"),
    (USAGE, "check guppy root@127.0.0.1"),
    (USAGE, "bootstrap guppy root@127.0.0.1 --yes"),
    (USAGE, "-C /no/such plan guppy"),
    (USAGE, "sync guppy"),
    (USAGE, "passphrase guppy"),
    (USAGE, "install . root@127.0.0.1"),
    (USAGE, "install .#guppy"),
    (USAGE, "host add guppy"),
    (USAGE, "keys to-age /no/such"),
    (USAGE, "keys to-age -"),
    (USAGE, "secrets verify --all"),
    (USAGE, "secrets rotate"),
    (USAGE, "iso build"),
    (USAGE, "iso flash /dev/no-such-drive --yes"),
    // Names that are none.
    (USAGE, "status ../guppy"),
    (USAGE, "log .."),
    (USAGE, "abandon a/b"),
    (USAGE, "ssh .hidden"),
    (USAGE, "host add Bad_Name"),
    (USAGE, "init d --host Bad_Name --yes"),
    // A question that nobody answers.
    (PERSON, "init d --yes"),
    (PERSON, "init d --host guppy"),
];

#[test]
fn wrong_use_is_told_from_what_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = Table::default();
    for (code, line) in ANYWHERE {
        let mut command = super::landfall(dir.path());
        let ran = table.row(line, command.args(line.split_whitespace()), *code);
        // Who reads standard output gets a result or nothing.
        assert_eq!(ran.stdout.is_empty(), *code != DONE, "{line}: {}", ran.text);
    }
    table.holds();
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(Result::unwrap).collect();
    let names: Vec<_> = left.iter().map(fs::DirEntry::file_name).collect();
    assert_eq!(names, [".local"], "only the state folder is made");
}

#[test]
fn secrets_that_are_out_of_date_are_no_wrong_use() {
    let Some(home) = Home::new() else { return };
    let mut table = Table::default();
    let mut row = |code, line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        table.row(line, &mut home.command(&words), code);
    };
    row(DONE, "secrets verify --all");
    row(DONE, "secrets updatekeys --check");
    row(DONE, "secrets updatekeys");
    row(DONE, "keys to-age ../host.pub");
    row(USAGE, "keys to-age shared.yaml");
    row(USAGE, "secrets rotate no-such.yaml");
    row(USAGE, "secrets user-key alice");
    row(USAGE, "secrets remove-host nobody");
    row(USAGE, "secrets rename-host nobody other");
    row(USAGE, "secrets add-host new --key no-such.pub --file shared.yaml");
    row(USAGE, "secrets add-host new --key ../host.pub --file no-such.yaml");
    row(DONE, "secrets add-host new --key ../host.pub --file shared.yaml --dry-run");
    row(PERSON, "secrets add-host new --key ../host.pub --file shared.yaml");
    let host = format!("      - age:\n          - {}\n          -", home.recipient());
    home.write(
        ".sops.yaml",
        &home.read(".sops.yaml").replacen("      - age:\n          -", &host, 1),
    );
    home.commit();
    row(FAILED, "secrets updatekeys --check");
    row(FAILED, "secrets verify --all");
    row(DONE, "secrets updatekeys --dry-run");
    row(PERSON, "secrets updatekeys");
    // What a rule lets somebody gain is for a person to grant.
    row(PERSON, "secrets updatekeys --yes");
    row(DONE, &format!("secrets updatekeys --yes --grant {}", home.recipient()));
    row(DONE, "secrets updatekeys --check");
    table.holds();
}

#[test]
fn what_can_be_tried_again_is_told_from_what_needs_a_person() {
    let Some(journey) = Journey::new() else { return };
    let mut table = Table::default();
    without_a_run(&journey, &mut table);
    with_a_run(&journey, &mut table);
    table.holds();
}

/// A code, the commands that end with it, and what their words are in place of those of a
/// complete run; what is empty is left out.
type Row<'a> = (i32, &'a [&'a str], &'a [(&'a str, &'a str)]);

fn without_a_run(journey: &Journey, table: &mut Table) {
    let other = keygen(journey.root.path(), "other", "ed25519");
    let (key, fingerprint) = (other.private.display().to_string(), other.public.fingerprint());
    let closed = format!("root@127.0.0.1:{}", free_port());
    let target = journey.args("check")[2].clone();
    let rows: &[Row<'_>] = &[
        (DONE, &["bootstrap --dry-run"], &[]),
        (DONE, &["check"], &[(&target, "")]),
        // A plan shows what is blocked; it judges nothing.
        (DONE, &["plan"], &[(HOST, "no-such-host"), (&target, "")]),
        (USAGE, &["check"], &[(HOST, "no-such-host")]),
        (USAGE, &["plan", "check", "bootstrap"], &[(HOST, "../guppy")]),
        (USAGE, &["plan", "check", "bootstrap"], &[(HOST, "Bad Name")]),
        (USAGE, &["bootstrap"], &[(&target, "")]),
        (USAGE, &["plan", "check", "bootstrap"], &[(&target, "root@")]),
        (USAGE, &["check"], &[("-i", "/no/such/key")]),
        (FAILED, &["plan", "check", "bootstrap"], &[(&target, &closed)]),
        (FAILED, &["check"], &[(&target, "root@no-such-host.invalid")]),
        (FAILED, &["check"], &[("-i", &key)]),
        (PERSON, &["check", "bootstrap"], &[("--installer-fingerprint", &fingerprint)]),
        (PERSON, &["check", "bootstrap"], &[("--installer-fingerprint", "")]),
        (PERSON, &["check"], &[("--erase", "")]),
        (PERSON, &["bootstrap"], &[("--yes", "")]),
    ];
    for (code, commands, changes) in rows {
        for line in *commands {
            let (name, more) = line.split_once(' ').unwrap_or((line, ""));
            let mut args = journey.args(name);
            changes.iter().for_each(|(word, value)| change(&mut args, word, value));
            args.retain(|word| name != "plan" || word != "--yes");
            let mut command = journey.landfall();
            command.args(args).args(more.split_whitespace());
            if line == &"bootstrap" {
                command.args(["--until", "build"]);
            }
            // A run would remember what was confirmed.
            let _ = fs::remove_dir_all(journey.state());
            table.row(&format!("{line} with {changes:?}"), &mut command, *code);
        }
    }
}

/// Gives a flag another value or a word another form; takes it away where that is empty.
fn change(args: &mut Vec<String>, word: &str, to: &str) {
    let at = args.iter().position(|arg| arg == word).unwrap();
    let is_flag = word.starts_with('-');
    match (is_flag, to) {
        (true, "") => drop(args.drain(at..=at + usize::from(word != "--yes"))),
        (false, "") => drop(args.remove(at)),
        (true, value) => args[at + 1] = value.to_owned(),
        (false, value) => args[at] = value.to_owned(),
    }
}

/// A run that is at work, then interrupted, then given up.
fn with_a_run(journey: &Journey, table: &mut Table) {
    let _ = fs::remove_dir_all(journey.state());
    journey.target.hangs(true);
    let mut bootstrap = journey.bootstrap();
    bootstrap.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = bootstrap.spawn().unwrap();
    wait_until(|| journey.target.is_waited_for());
    table.row("a second run meanwhile", &mut journey.bootstrap(), FAILED);
    let mut row = |code, line: &str| {
        table.row(line, journey.landfall().args(line.split(' ')), code);
    };
    row(FAILED, "abandon guppy --yes");
    row(DONE, "status guppy --json");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(INTERRUPTED));
    row(DONE, "log guppy");
    row(DONE, "log guppy secrets");
    row(USAGE, "bootstrap guppy root@127.0.0.1 --strategy direct --yes");
    row(PERSON, "abandon guppy");
    row(DONE, "abandon guppy --yes");
    row(USAGE, "abandon guppy");
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

#[track_caller]
fn wait_until(mut reached: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !reached() {
        assert!(Instant::now() < until, "it did not come to that");
        std::thread::sleep(Duration::from_millis(20));
    }
}
