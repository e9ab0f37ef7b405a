//! `status` and `log` over state folders as runs leave them.

use landfall::cli::{log, status};
use landfall::error::Exit;
use landfall::run::journal::{Entry, Journal, RunIdentity};
use landfall::run::run_dir::{RunDir, StateDir};
use landfall::run::step::{Evidence, StepId};
use landfall::ui::Style;
use uuid::Uuid;

struct Home {
    state: StateDir,
    _dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path().join("landfall")).unwrap();
        Self { state, _dir: dir }
    }

    /// A new run of `host` and its open journal.
    fn run(&self, host: &str, id: u128) -> (RunDir, Journal) {
        let run = self.state.host(host).unwrap().new_run(Uuid::from_u128(id)).unwrap();
        let mut journal = Journal::open(&run.journal()).unwrap();
        let identity = RunIdentity {
            run: run.id(),
            host: host.into(),
            strategy: "staged".into(),
            target: "root@192.0.2.10".into(),
        };
        journal.append(Entry::Run(identity)).unwrap();
        (run, journal)
    }

    fn status(&self, host: Option<&str>, json: bool) -> String {
        let args = status::StatusArgs { host: host.map(str::to_owned), json };
        let mut out = Vec::new();
        assert_eq!(status::run(&args, &self.state, Style::PLAIN, &mut out).unwrap(), Exit::Done);
        String::from_utf8(out).unwrap()
    }

    fn log(&self, host: &str, step: Option<StepId>) -> String {
        let mut out = Vec::new();
        log::run(&log::LogArgs { host: host.into(), step }, &self.state, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }
}

fn finish(journal: &mut Journal, step: StepId, evidence: &str, seconds: f64) {
    journal.append(Entry::Started { step, intention: Evidence::default() }).unwrap();
    let evidence = Evidence::new(evidence).with("revision", "77ab01c");
    journal.append(Entry::Finished { step, evidence, seconds }).unwrap();
}

fn fail(journal: &mut Journal, step: StepId) {
    journal.append(Entry::Started { step, intention: Evidence::default() }).unwrap();
    let failed = Entry::Failed {
        step,
        what: "copying the system to guppy failed".into(),
        why: "No space left on device".into(),
        hint: "Make the disk larger.".into(),
        seconds: 12.0,
    };
    journal.append(failed).unwrap();
}

#[test]
fn a_failed_run_shows_its_steps_their_times_and_the_reason() {
    let home = Home::new();
    let (_, mut journal) = home.run("guppy", 7);
    finish(&mut journal, StepId::Identity, "SSH host key SHA256:qX0hZ0yT8b2G", 0.3);
    finish(&mut journal, StepId::Installer, "installer answers with its key", 4.0);
    finish(&mut journal, StepId::Build, "52 paths, 238 MiB", 73.0);
    fail(&mut journal, StepId::Copy);
    drop(journal);
    insta::assert_snapshot!(home.status(Some("guppy"), false));
}

#[test]
fn json_of_one_host_is_the_plan_of_its_current_run() {
    let home = Home::new();
    drop(home.run("guppy", 1));
    let (run, mut journal) = home.run("guppy", 2);
    finish(&mut journal, StepId::Hardware, "committed", 2.0);
    let json: serde_json::Value = serde_json::from_str(&home.status(Some("guppy"), true)).unwrap();
    assert_eq!(json["host"], "guppy");
    assert_eq!(json["run"], run.id().to_string());
    assert_eq!(json["strategy"], "staged");
    let steps = json["steps"].as_array().unwrap();
    assert_eq!(steps.len(), StepId::ALL.len());
    let hardware = steps.iter().find(|step| step["id"] == "hardware").unwrap();
    assert_eq!(hardware["state"], "done");
    assert_eq!(hardware["seconds"], 2.0);
    assert_eq!(hardware["evidence"]["summary"], "committed");
    assert!(hardware["started"].as_str().unwrap().ends_with('Z'));
    let disks = steps.iter().find(|step| step["id"] == "disks").unwrap();
    assert_eq!((&disks["state"], &disks["reversible"]), (&"ready".into(), &false.into()));
}

#[test]
fn a_begun_step_runs_only_while_its_landfall_lives() {
    let home = Home::new();
    let (_, mut journal) = home.run("guppy", 1);
    let started = Entry::Started { step: StepId::Copy, intention: Evidence::default() };
    journal.append(started).unwrap();
    assert!(home.status(None, false).contains("running copy"));
    drop(journal);
    // A child that another test of this process is just starting holds the lock until it execs.
    let freed = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        home.status(None, false).contains("failed in copy")
    });
    assert!(freed);
    assert!(home.status(Some("guppy"), false).contains("interrupted"));
}

#[test]
fn the_list_has_every_run_of_every_host() {
    let home = Home::new();
    assert!(home.status(None, false).contains("landfall bootstrap"));
    assert_eq!(home.status(None, true).trim(), "[]");
    let (_, mut journal) = home.run("guppy", 1);
    fail(&mut journal, StepId::Copy);
    drop(journal);
    let (_, mut journal) = home.run("guppy", 2);
    journal.append(Entry::Completed).unwrap();
    drop(journal);
    drop(home.run("tetra", 3));
    let text = home.status(None, false);
    let states: Vec<&str> =
        text.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(states, ["abandoned", "done", "unfinished"], "{text}");
    let json: serde_json::Value = serde_json::from_str(&home.status(None, true)).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 3);
    assert!(home.status(Some("guppy"), false).contains("Other runs"));
}

#[test]
fn a_host_without_a_run_is_a_wrong_use_and_says_what_to_do() {
    let home = Home::new();
    let args = status::StatusArgs { host: Some("guppy".into()), json: false };
    let error = status::run(&args, &home.state, Style::PLAIN, &mut Vec::new()).unwrap_err();
    assert_eq!(error.exit, Exit::Usage);
    assert!(error.hint.contains("bootstrap"), "{error:?}");
    let args = log::LogArgs { host: "../../etc".into(), step: None };
    let error = log::run(&args, &home.state, &mut Vec::new()).unwrap_err();
    assert_eq!(error.exit, Exit::Usage);
}

#[test]
fn the_log_of_a_step_has_its_entries_whole() {
    let home = Home::new();
    let (run, _journal) = home.run("guppy", 1);
    let text = "\
2026-11-23T07:57:13Z  INFO step{step=disks}: start sgdisk
2026-11-23T07:57:14Z  INFO step{step=copy}: nix says:
  copying /nix/store/x
  step=disks is not meant here
2026-11-23T07:57:15Z  INFO phase installer
2026-11-23T07:57:16Z  INFO step{step=copy}: end
";
    std::fs::write(run.log(), text).unwrap();
    assert_eq!(home.log("guppy", None), text);
    let copy: String = text.lines().skip(1).take(3).map(|line| format!("{line}\n")).collect();
    let end = "2026-11-23T07:57:16Z  INFO step{step=copy}: end\n";
    assert_eq!(home.log("guppy", Some(StepId::Copy)), copy + end);
    assert_eq!(home.log("guppy", Some(StepId::Publish)), "");
}

#[test]
fn an_abandoned_run_still_has_its_log() {
    let home = Home::new();
    let (run, _journal) = home.run("guppy", 1);
    std::fs::write(run.log(), "2026-11-23T07:57:13Z  INFO x\n").unwrap();
    home.state.host("guppy").unwrap().forget_current().unwrap();
    assert!(home.log("guppy", None).contains("INFO x"));
}
