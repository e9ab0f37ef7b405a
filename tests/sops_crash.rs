//! A transaction that ends at each of its moments: what is left is whole, and a
//! second run completes it.
//!
//! The process really ends (abort, no unwinding): this test runs itself again as a
//! child that is told at which moment.

use std::path::{Path, PathBuf};
use std::process::Command;

use landfall::age::{HostKey, Identity};
use landfall::sops::file::EncryptedFile;
use landfall::sops::format::Format;
use landfall::sops::identities::Identities;
use landfall::sops::plan::{self, Change, EditSettings};
use landfall::sops::proof::{self, Need};
use landfall::sops::rules::Rules;
use landfall::sops::transaction;

const FILES: [&str; 3] = ["a.yaml", "b.yaml", "deep/c.yaml"];
/// Set in the child: the folder with the repo, and the moment at which to end.
const CHILD: &str = "LANDFALL_TEST_CRASH";

fn plan_in(dir: &Path) -> Change {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let identities = Identities::only(Identity::parse(read("operator").trim()).unwrap());
    let host = HostKey::parse(&read("host")).unwrap();
    let files: Vec<PathBuf> = FILES.iter().map(PathBuf::from).collect();
    plan::plan_add_host(
        &dir.join("repo"),
        Path::new(".sops.yaml"),
        "new",
        &host.recipient().unwrap(),
        &files,
        &EditSettings::default(),
        &identities,
    )
    .unwrap()
}

#[test]
fn child() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let (dir, moment) = told.split_once('|').unwrap();
    let (dir, mut left) = (Path::new(dir), moment.parse::<usize>().unwrap());
    let change = plan_in(dir);
    let written = transaction::write_watched(change.dir(), &change.changes, &mut |_| {
        if left == 0 {
            std::process::abort();
        }
        left -= 1;
    });
    written.unwrap();
}

#[test]
fn ended_at_any_moment_it_is_whole_and_can_be_completed() {
    let Some(sops) = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|dir| dir.join("sops"))
        .find(|file| file.is_file())
    else {
        println!("SKIPPED: sops is not in PATH");
        return;
    };
    let mut moments = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let (operator, host) = make_repo(dir.path(), &sops);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child"])
            .env(CHILD, format!("{}|{moments}", dir.path().display()))
            .output()
            .unwrap();
        check_whole(&dir.path().join("repo"), &operator);
        if child.status.success() {
            break;
        }
        plan::commit(&plan_in(dir.path())).unwrap();
        check_complete(&dir.path().join("repo"), &host);
        moments += 1;
    }
    // Locked, three files and the config staged, checked, all four renamed.
    assert_eq!(moments, 1 + 4 + 1 + 4);
}

fn make_repo(dir: &Path, sops: &Path) -> (Identity, HostKey) {
    let (operator, host) = (Identity::generate(), HostKey::generate("x").unwrap());
    std::fs::write(dir.join("operator"), operator.text().expose()).unwrap();
    std::fs::write(dir.join("host"), host.private_openssh().unwrap().expose()).unwrap();
    let repo = dir.join("repo");
    std::fs::create_dir_all(repo.join("deep")).unwrap();
    let config = format!(
        "keys:\n  - &me {}\ncreation_rules:\n  - path_regex: \\.yaml$\n    key_groups:\n      - age:\n          - *me\n",
        operator.recipient()
    );
    std::fs::write(repo.join(".sops.yaml"), config).unwrap();
    for file in FILES {
        std::fs::write(repo.join(file), "a: b\n").unwrap();
        let status = Command::new(sops)
            .args(["--config", ".sops.yaml", "encrypt", "--in-place", file])
            .current_dir(&repo)
            .env_clear()
            .env("HOME", dir)
            .status()
            .unwrap();
        assert!(status.success());
    }
    (operator, host)
}

/// Every file parses, verifies, and opens for the operator.
fn check_whole(repo: &Path, operator: &Identity) {
    let config = std::fs::read_to_string(repo.join(".sops.yaml")).unwrap();
    Rules::parse(&config).unwrap();
    for file in FILES {
        let text = std::fs::read_to_string(repo.join(file)).unwrap();
        EncryptedFile::parse(&text, Format::Yaml).unwrap();
        let need = Need {
            name: "a".into(),
            file: repo.join(file),
            format: Format::Yaml,
            key: vec!["a".into()],
        };
        proof::prove(operator, &[need]).unwrap();
    }
}

/// The host opens everything, and nothing is left over.
fn check_complete(repo: &Path, host: &HostKey) {
    let needs: Vec<Need> = FILES
        .iter()
        .map(|file| Need {
            name: "a".into(),
            file: repo.join(file),
            format: Format::Yaml,
            key: vec!["a".into()],
        })
        .collect();
    proof::prove(&host.identity().unwrap(), &needs).unwrap();
    for dir in [repo.to_owned(), repo.join("deep")] {
        for entry in std::fs::read_dir(dir).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            assert!(!name.contains("landfall"), "{name} was left over");
        }
    }
}
