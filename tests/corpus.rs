//! Every `.sops.yaml` of the corpus: add a host, add it again, replace its key,
//! rename it, remove it; after that the file is what it was, byte for byte, and
//! real sops agrees on who may read what in between.

use std::path::{Path, PathBuf};
use std::process::Command;

use landfall::sops::edit::{self, Addition, EditError};
use landfall::sops::host::Who;
use landfall::sops::new_rule::{NewRule, others};
use landfall::sops::rules::{Rules, RulesError};

const KEY: &str = "age17044m9wgakla6pzftf4srtl3h5mcsr85jysgt5fg23zpnta8sfdqhzn452";
const OTHER_KEY: &str = "age1v8zjc47jmlqwefyu66s0d4ke98qr4vnuj3cpvs4z9npfdw833dxqwjrhzv";
const STRANGER: &str = "age1hjm3aujg9e79f5yth8a2cejzdjg5n9vnu96l05p70uvfpeltnpms7yy3pp";
const HOST: &str = "newhost";
const RENAMED: &str = "otherhost";

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let dir = std::env::var_os("LANDFALL_CORPUS").map_or(beside, PathBuf::from).join("sops-yaml");
    if !dir.is_dir() {
        println!("SKIPPED: no corpus in {} (set LANDFALL_CORPUS)", dir.display());
        return None;
    }
    Some(dir)
}

fn sops() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found =
        std::env::split_paths(&path).map(|dir| dir.join("sops")).find(|file| file.is_file());
    if found.is_none() {
        println!("SKIPPED: real sops was not asked: it is not in PATH");
    }
    found
}

/// Real sops in an empty home.
struct Sops {
    program: PathBuf,
    dir: tempfile::TempDir,
    /// A file encrypted to nobody whom the rules know.
    encrypted: String,
}

impl Sops {
    fn new(program: PathBuf) -> Self {
        let mut sops =
            Self { program, dir: tempfile::tempdir().unwrap(), encrypted: String::new() };
        std::fs::write(sops.dir.path().join("plain.yaml"), "a: b\n").unwrap();
        let (ok, text) =
            sops.run(&["--config", "/dev/null", "encrypt", "--age", STRANGER, "plain.yaml"]);
        assert!(ok, "{text}");
        sops.encrypted = text;
        sops
    }

    fn run(&self, args: &[&str]) -> (bool, String) {
        let output = Command::new(&self.program)
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("HOME", self.dir.path())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Whom updatekeys would add to a file at `path`.
    fn additions(&self, config: &str, path: &str) -> Result<Vec<String>, String> {
        std::fs::write(self.dir.path().join(".sops.yaml"), config).unwrap();
        let file = self.dir.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &self.encrypted).unwrap();
        let (_, text) = self.run(&[
            "--config",
            ".sops.yaml",
            "updatekeys",
            "--yes",
            "--input-type",
            "yaml",
            path,
        ]);
        if text.contains("error loading config") || !text.contains("+++ ") {
            return Err(text);
        }
        let added = text.lines().filter_map(|line| line.trim().strip_prefix("+++ "));
        Ok(added.map(str::to_owned).collect())
    }
}

/// A path that a simple pattern matches.
fn sample(regex: &str) -> String {
    let mut text = regex.trim_start_matches('^').trim_end_matches('$').to_owned();
    for (from, to) in [
        ("(modules/.+/(.+\\.)?secrets|secrets/[^/]+)", "secrets/x"),
        ("((ssh_host_(ed25519|rsa|ecdsa)_key)|(.*-priv-key\\.pem))", "ssh_host_rsa_key"),
        ("([A-Za-z0-9_-])*", ""),
        ("(\\.[^.]+)?", ".yaml"),
        ("(/[^/]+)?", ""),
        ("(\\.crypt)?", ""),
        ("[^.]+", "yaml"),
        ("[^/]+", "x"),
        ("[^.]", "x"),
        ("ya?ml", "yaml"),
        ("\\/", "/"),
        ("\\.", "."),
        (".*", "x"),
        (".+", "x"),
    ] {
        text = text.replace(from, to);
    }
    while let (Some(open), Some(close)) = (text.find('('), text.find(')')) {
        let first = text[open + 1..close].split('|').next().unwrap_or_default().to_owned();
        text.replace_range(open..=close, &first);
    }
    if text.ends_with('/') { format!("{text}x.yaml") } else { text }
}

fn changed_lines(before: &str, after: &str) -> (usize, usize) {
    let diff = similar::TextDiff::from_lines(before, after);
    let count = |tag| diff.iter_all_changes().filter(|change| change.tag() == tag).count();
    (count(similar::ChangeTag::Delete), count(similar::ChangeTag::Insert))
}

/// One journey of a host through a config; returns the text with the host in it.
fn round_trip(name: &str, text: &str, addition: &Addition, drop: &[String]) -> String {
    let fail = |what: &str, error: &EditError| panic!("{name}: {what}: {error}");
    let added = edit::add(text, addition).unwrap_or_else(|e| fail("add", &e)).text;
    assert_ne!(added, text, "{name}: nothing was added");
    let again = Addition { new_rules: Vec::new(), ..addition.clone() };
    assert_eq!(
        edit::add(&added, &again).unwrap().text,
        added,
        "{name}: adding twice changed something"
    );
    if addition.rules.is_empty() {
        assert_eq!(
            edit::add(&added, addition).unwrap().text,
            added,
            "{name}: a second rule was made"
        );
    }
    let who = Who { name: HOST, recipient: Some(KEY), ..Who::default() };
    let replaced =
        edit::replace(&added, &who, OTHER_KEY).unwrap_or_else(|e| fail("replace", &e)).text;
    assert_eq!(replaced, added.replace(KEY, OTHER_KEY), "{name}: replace");
    assert_eq!(
        edit::replace(&replaced, &Who { recipient: Some(OTHER_KEY), ..who }, OTHER_KEY)
            .unwrap()
            .text,
        replaced,
        "{name}"
    );
    let renamed = edit::rename(&added, &who, RENAMED).unwrap_or_else(|e| fail("rename", &e)).text;
    assert_eq!(renamed, added.replace(HOST, RENAMED), "{name}: rename");
    let renamed_drop: Vec<String> = drop.iter().map(|regex| regex.replace(HOST, RENAMED)).collect();
    let removed = edit::remove(&renamed, &Who { name: RENAMED, ..who }, &renamed_drop);
    let removed = removed.unwrap_or_else(|e| fail("remove", &e)).text;
    assert_eq!(removed, text, "{name}: remove");
    assert_eq!(
        edit::remove(&removed, &Who { name: RENAMED, ..who }, &[]).unwrap().text,
        text,
        "{name}"
    );
    added
}

fn addition(rules: Vec<usize>, new_rules: Vec<NewRule>) -> Addition {
    Addition { host: HOST.into(), recipient: KEY.into(), rules, new_rules, ..Addition::default() }
}

/// Edits one file in every way; says how it went.
fn outcome(name: &str, text: &str, sops: Option<&Sops>) -> String {
    let rules = match Rules::parse(text) {
        Ok(rules) => rules,
        Err(error) => {
            if let Some(sops) = sops {
                assert!(
                    sops.additions(text, "x.yaml").is_err(),
                    "{name}: refused, but sops takes it: {error}"
                );
            }
            return format!("refused as sops does: {error}");
        }
    };
    if let Err(error) = rules.check_editable() {
        assert!(matches!(error, RulesError::Generated { .. }), "{name}: {error}");
        return format!("refused: {error}");
    }
    let all = rules.rules().unwrap();
    let every: Vec<usize> = all.iter().map(|rule| rule.index).collect();
    let added = round_trip(name, text, &addition(every, Vec::new()), &[]);
    let (deleted, inserted) = changed_lines(text, &added);
    assert!(
        deleted <= all.len() && inserted <= all.len() * 2 + 1,
        "{name}: -{deleted} +{inserted}"
    );
    for rule in &all {
        round_trip(name, text, &addition(vec![rule.index], Vec::new()), &[]);
        // Each question takes a process: the first, the middle and the last rule of a file must do.
        let asked = [0, all.len() / 2, all.len() - 1].contains(&rule.index);
        if let (Some(sops), Some(regex), true) = (sops, rule.path_regex, asked) {
            let path = sample(regex);
            assert!(
                rule.matches(Path::new(&path)).unwrap(),
                "{name}: {path} does not match {regex}"
            );
            let found = sops
                .additions(&added, &path)
                .unwrap_or_else(|e| panic!("{name}: {path}: {e}\n{added}"));
            assert!(
                found.iter().any(|key| key == KEY),
                "{name}: {path}: sops does not see the host\n{added}"
            );
        }
    }
    let path = format!("hosts/{HOST}/secrets.yaml");
    let winner = rules.rule_for(Path::new(&path)).unwrap();
    let new_rule = NewRule {
        path_regex: format!("^hosts/{HOST}/secrets\\.yaml$"),
        others: winner.as_ref().or(all.first()).map(others).unwrap_or_default(),
        before: winner.map(|rule| rule.index),
    };
    let drop = vec![new_rule.path_regex.clone()];
    let with_rule = round_trip(name, text, &addition(Vec::new(), vec![new_rule]), &drop);
    if let Some(sops) = sops {
        let found = sops
            .additions(&with_rule, &path)
            .unwrap_or_else(|e| panic!("{name}: {e}\n{with_rule}"));
        assert!(
            found.iter().any(|key| key == KEY),
            "{name}: sops does not see the new rule\n{with_rule}"
        );
    }
    format!("edited: {} rules, -{deleted} +{inserted} lines", all.len())
}

#[test]
fn every_file_of_the_corpus() {
    let Some(dir) = corpus() else { return };
    let sops = sops().map(Sops::new);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 47);
    let mut table = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            outcome(&name, &text, sops.as_ref())
        }));
        table.push((
            name,
            result.map_err(|e| e.downcast_ref::<String>().cloned().unwrap_or_default()),
        ));
    }
    for (name, result) in &table {
        match result {
            Ok(outcome) => println!("{name:60} {outcome}"),
            Err(error) => println!("{name:60} FAILED {error}"),
        }
    }
    assert!(table.iter().all(|(_, result)| result.is_ok()), "see the table");
    let refused = |(_, result): &&(_, Result<String, _>)| {
        result.as_ref().is_ok_and(|text| text.starts_with("refused"))
    };
    assert_eq!(table.iter().filter(refused).count(), 2);
}
