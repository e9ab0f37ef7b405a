//! Every `.sops.yaml` of a corpus of real ones goes the whole way of a host, by the
//! editor for each of its rules and by the real program for all of them at once.
//!
//! `LANDFALL_CORPUS` names the folder; `cargo xtask corpus` prints the table.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::common::round_trip::{HOST, RENAMED, Sops, changed_lines, outcome, sample};
use crate::common::secrets::Home;
use crate::common::skipped;
use landfall::secret::age::HostKeyPair;
use landfall::sops::rules::Rules;

/// The files of the corpus, or why there are none.
fn corpus() -> Result<Vec<PathBuf>, String> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let dir = std::env::var_os("LANDFALL_CORPUS").map_or(beside, PathBuf::from);
    let below = dir.join("sops-yaml");
    let dir = if below.is_dir() { below } else { dir };
    let entries = std::fs::read_dir(&dir)
        .map_err(|error| format!("no corpus in {}: {error}", dir.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "yaml" || end == "yml"));
    files.sort();
    if files.is_empty() { Err(format!("no YAML files in {}", dir.display())) } else { Ok(files) }
}

/// The same way with the real program in a git repository; says what changed.
fn by_program(text: &str, sops: &Sops) -> Option<String> {
    let home = Home::with("", &[])?;
    home.write(".sops.yaml", text);
    home.commit();
    let other = HostKeyPair::generate("root@other").unwrap();
    std::fs::write(home.path("other.pub"), other.public_openssh().unwrap()).unwrap();
    let rules = Rules::parse(text).unwrap();
    let all = rules.rules().unwrap();
    let regexes: Vec<&str> = all.iter().map(|rule| rule.path_regex.unwrap_or_default()).collect();
    let add = |key: &'static str| {
        let mut args = vec!["secrets", "add-host", HOST, "--yes", "--key", key];
        regexes.iter().for_each(|regex| args.extend(["--rule", regex]));
        args
    };
    let step = |what: &str, args: &[&str]| -> String {
        let before = home.read(".sops.yaml");
        home.ok(args);
        let after = home.read(".sops.yaml");
        home.commit();
        assert!(home.ok(args).contains("Nothing to do"), "{what}: not idempotent");
        assert_eq!(home.read(".sops.yaml"), after, "{what}: not idempotent");
        let (deleted, inserted) = changed_lines(&before, &after);
        format!("{what} -{deleted} +{inserted}")
    };

    let mut said = vec![step("added", &add("../host.pub"))];
    let added = home.read(".sops.yaml");
    if let Some(path) = regexes.iter().find_map(|regex| sample(regex)) {
        let found = sops.additions(&added, &path).unwrap();
        assert!(found.contains(&home.recipient()), "sops does not see the host in {path}");
    }
    said.push(step("another key", &add("../other.pub")));
    let recipient = other.recipient().unwrap().to_string();
    assert_eq!(home.read(".sops.yaml"), added.replace(&home.recipient(), &recipient));
    said.push(step("renamed", &["secrets", "rename-host", HOST, RENAMED, "--yes"]));
    let before = home.read(".sops.yaml");
    home.ok(&["secrets", "remove-host", RENAMED, "--yes"]);
    let after = home.read(".sops.yaml");
    let (deleted, inserted) = changed_lines(&before, &after);
    said.push(format!("removed -{deleted} +{inserted}"));
    assert_eq!(after, text, "not what it was");
    Some(said.join(", "))
}

/// What becomes of one file: the editor's word, then the program's.
fn both(name: &str, text: &str, sops: Option<&Sops>) -> String {
    let editor = outcome(name, text, sops);
    match sops {
        Some(sops) if editor.starts_with("edited") => {
            format!("{editor}; by the program: {}", by_program(text, sops).unwrap_or_default())
        }
        _ => editor,
    }
}

#[test]
fn every_file_of_the_corpus() {
    let files = match corpus() {
        Ok(files) => files,
        Err(reason) => return skipped(&reason),
    };
    let sops = Sops::new();
    let mut failed = 0;
    for file in &files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).unwrap();
        let result = catch_unwind(AssertUnwindSafe(|| both(&name, &text, sops.as_ref())));
        match result {
            Ok(outcome) => println!("{name:58} {outcome}"),
            Err(error) => {
                failed += 1;
                let reason = error.downcast_ref::<String>().cloned();
                println!("{name:58} FAILED {}", reason.unwrap_or_default());
            }
        }
    }
    println!("{} files, {failed} failed", files.len());
    assert_eq!(failed, 0, "see the table");
}
