//! Journals that bad luck has spoiled, and landfalls that begin at one moment.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::git::git;
use crate::common::journey::{Ran, run};
use landfall::run::journal::{self, Entry, Journal, RunIdentity};
use landfall::run::run_dir::{RunDir, StateDir};
use landfall::run::step::{Evidence, StepId};
use tempfile::TempDir;
use uuid::Uuid;

/// An operator's home with a configuration that no run gets far enough to evaluate.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        let config = home.0.path().join("config");
        fs::create_dir(&config).unwrap();
        git(&config, &["init", "-q"]);
        fs::write(config.join("flake.nix"), "{ outputs = _: { }; }\n").unwrap();
        home
    }

    fn landfall(&self, args: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("landfall"));
        command.env_remove("XDG_STATE_HOME").env("HOME", self.0.path());
        command.arg("-C").arg(self.0.path().join("config")).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        run(&mut self.landfall(args))
    }

    fn state(&self) -> StateDir {
        StateDir::at(self.0.path().join(".local/state/landfall")).unwrap()
    }

    /// A run of `host` that has made its key and its build.
    fn begun(&self, host: &str, id: u128) -> RunDir {
        let dir = self.state().host(host).unwrap().new_run(Uuid::from_u128(id)).unwrap();
        let mut journal = Journal::open(&dir.journal()).unwrap();
        journal
            .append(Entry::Run(RunIdentity {
                run: dir.id(),
                host: host.into(),
                strategy: "direct".into(),
                target: "root@192.0.2.1".into(),
            }))
            .unwrap();
        journal.append(started(StepId::Disks, "x")).unwrap();
        dir
    }

    fn folders(&self, host: &str) -> usize {
        self.state().host(host).unwrap().runs().unwrap().len()
    }
}

fn started(step: StepId, intention: &str) -> Entry {
    Entry::Started { step, intention: Evidence::new(intention) }
}

/// What becomes of a line in the middle: a page that was never written, a torn line with
/// another one at its end, an entry of another version.
const SPOILED: [&[u8]; 3] = [
    b"\0\0\0\0\0\0\0\0\xff\n",
    b"{\"time\":\"2026-11-{\"time\":\"2026-11-28T20:00:00Z\",\"kind\":\"completed\"}\n",
    b"{\"time\":\"2026-11-28T20:00:00Z\",\"kind\":\"teleported\"}\n",
];

#[test]
fn an_unreadable_line_ends_no_other_command_and_its_run_is_forgotten() {
    for spoiled in SPOILED {
        let home = Home::new();
        let run = home.begun("guppy", 1);
        home.begun("tetra", 2);
        let good = fs::read(run.journal()).unwrap();
        let second = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let text = [&good[..second], spoiled, &good[second..]].concat();
        fs::write(run.journal(), &text).unwrap();

        let words = ["guppy unreadable", "tetra failed in disks", "line 2 of the journal"];
        let ran = home.run(&["status"]);
        ran.ends(0, &words).ends(0, &["landfall abandon guppy"]);
        home.run(&["status", "guppy"]).ends(0, &["line 2 of the journal", "disks"]);
        let json = home.run(&["status", "--json"]);
        let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
        assert!(json[0]["unreadable"].as_str().unwrap().contains("line 2"), "{json}");
        assert!(json[1].get("unreadable").is_none(), "{json}");

        let bootstrap = ["bootstrap", "guppy", "root@127.0.0.1:1", "--yes"];
        home.run(&bootstrap).ends(1, &["line 2 of the journal", "landfall abandon HOST"]);
        assert_eq!(fs::read(run.journal()).unwrap(), text, "a refused command changed it");
        let undo = home.run(&["abandon", "guppy", "--undo", "--yes"]);
        undo.ends(2, &["is not taken back", "line 2"]);
        let words = ["formatted disks", "perhaps more", "line 2", "Forgotten"];
        home.run(&["abandon", "guppy", "--yes"]).ends(0, &words);
        home.run(&bootstrap).ends(1, &["127.0.0.1"]);
        assert_eq!(home.folders("guppy"), 2);
    }
}

#[test]
fn a_journal_that_cannot_be_opened_is_named_and_the_others_are_shown() {
    let home = Home::new();
    let run = home.begun("guppy", 1);
    home.begun("tetra", 2);
    fs::remove_file(run.journal()).unwrap();
    fs::create_dir(run.journal()).unwrap();
    // And a host whose folder is none that a run leaves.
    let odd = home.state().path().join("odd");
    fs::create_dir_all(odd.join("current")).unwrap();
    let words = ["guppy unreadable", "tetra failed in disks", "odd:"];
    home.run(&["status"]).ends(0, &words);
}

/// A file system with room for two pages, until it is dropped.
struct Small(PathBuf);

impl Small {
    fn at(dir: &Path) -> Option<Self> {
        fs::create_dir(dir).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8k", "tmpfs"]).arg(dir);
        if run(&mut mount).code != Some(0) {
            crate::common::skipped("a small file system cannot be mounted");
            return None;
        }
        Some(Self(dir.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

#[test]
fn an_append_that_found_no_room_leaves_no_half_line() {
    let dir = tempfile::tempdir().unwrap();
    let Some(small) = Small::at(&dir.path().join("small")) else { return };
    let path = small.0.join("journal");
    let mut journal = Journal::open(&path).unwrap();
    let long = "x".repeat(3000);
    let failed = (0..9).find_map(|_| journal.append(started(StepId::Copy, &long)).err()).unwrap();
    assert!(failed.to_string().contains("No space left"), "{failed}");
    assert!(fs::read(&path).unwrap().ends_with(b"\n"));
    // The failure itself is short, and there is room for it.
    let count = journal.lines().len();
    journal.append(started(StepId::Disks, "short")).unwrap();
    drop(journal);
    let readable = journal::read(&path).unwrap();
    assert!(readable.unreadable.is_none(), "{:?}", readable.unreadable);
    assert_eq!(readable.lines.len(), count + 1);
    assert_eq!(Journal::open(&path).unwrap().lines().len(), count + 1);
}

/// Ends a process that was started here.
fn end(child: &mut Child) -> String {
    let _ = child.kill();
    let _ = child.wait();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut text).unwrap();
    text
}

#[test]
fn of_two_first_runs_at_one_moment_one_goes_on() {
    let home = Home::new();
    // Answers no hello: whoever goes on waits here.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let target = format!("root@{}", silent.local_addr().unwrap());
    for pair in 0..10 {
        let host = format!("host{pair}");
        let start = || {
            let mut landfall = home.landfall(&["bootstrap", &host, &target, "--yes"]);
            landfall.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            landfall.spawn().unwrap()
        };
        let mut pair = [start(), start()];
        let until = Instant::now() + Duration::from_secs(20);
        let ended = |pair: &mut [Child; 2]| {
            pair.iter_mut().filter_map(|child| child.try_wait().unwrap()).collect::<Vec<_>>()
        };
        while ended(&mut pair).is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let codes: Vec<_> = ended(&mut pair).iter().map(|status| status.code()).collect();
        let said: String = pair.iter_mut().map(end).collect();
        assert_eq!(codes, [Some(1)], "{said}");
        assert!(said.contains("another landfall is working on this host"), "{said}");
        assert_eq!(home.folders(&host), 1, "{said}");
    }
}
