//! A host's way through one `.sops.yaml`: added, added again, given another key,
//! renamed, removed; after that the file is what it was, byte for byte, and real sops
//! agrees on who may read what in between.

use std::path::{Path, PathBuf};
use std::process::Command;

use landfall::sops::rules::edit;
use landfall::sops::rules::edit::{Addition, EditError};
use landfall::sops::rules::go_regex;
use landfall::sops::rules::hosts::Who;
use landfall::sops::rules::new_rule::{NewRule, others};
use landfall::sops::rules::{Rules, RulesError};
use regex_syntax::hir::{Class, Hir, HirKind};

use super::secrets::sops;

pub const KEY: &str = "age17044m9wgakla6pzftf4srtl3h5mcsr85jysgt5fg23zpnta8sfdqhzn452";
pub const OTHER_KEY: &str = "age1v8zjc47jmlqwefyu66s0d4ke98qr4vnuj3cpvs4z9npfdw833dxqwjrhzv";
const STRANGER: &str = "age1hjm3aujg9e79f5yth8a2cejzdjg5n9vnu96l05p70uvfpeltnpms7yy3pp";
pub const HOST: &str = "newhost";
pub const RENAMED: &str = "otherhost";

/// Real sops in an empty home.
pub struct Sops {
    program: PathBuf,
    dir: tempfile::TempDir,
    /// A file encrypted to nobody whom the rules know.
    encrypted: String,
}

impl Sops {
    pub fn new() -> Option<Self> {
        let program = sops()?;
        let mut sops =
            Self { program, dir: tempfile::tempdir().unwrap(), encrypted: String::new() };
        std::fs::write(sops.dir.path().join("plain.yaml"), "a: b\n").unwrap();
        let (ok, text) =
            sops.run(&["--config", "/dev/null", "encrypt", "--age", STRANGER, "plain.yaml"]);
        assert!(ok, "{text}");
        sops.encrypted = text;
        Some(sops)
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
    pub fn additions(&self, config: &str, path: &str) -> Result<Vec<String>, String> {
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

/// A path that the pattern matches; none where a part of it cannot be a path.
pub fn sample(regex: &str) -> Option<String> {
    let compiled = go_regex::compile(regex).ok()?;
    let mut parser = regex_syntax::ParserBuilder::new().octal(true).utf8(false).build();
    let mut path = String::new();
    write_sample(&parser.parse(compiled.as_str()).ok()?, &mut path);
    if path.is_empty() || path.ends_with('/') {
        path.push_str("x.yaml");
    }
    if path == ".sops.yaml" {
        path.insert(0, 'x'); // the config itself is no file of its rules
    }
    let plain = !path.starts_with('/') && !path.contains("//") && !path.contains('\0');
    (plain && compiled.is_match(&path)).then_some(path)
}

fn write_sample(hir: &Hir, out: &mut String) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.push_str(&String::from_utf8_lossy(&literal.0)),
        HirKind::Class(class) => {
            let holds = |c: char| match class {
                Class::Unicode(set) => set.iter().any(|r| (r.start()..=r.end()).contains(&c)),
                Class::Bytes(set) => set.iter().any(|r| (r.start()..=r.end()).contains(&(c as u8))),
            };
            out.extend(('a'..='z').chain('0'..='9').chain("A_-./ ".chars()).find(|c| holds(*c)));
        }
        HirKind::Repetition(repetition) => {
            let once = u32::from(repetition.max != Some(0));
            (0..repetition.min.max(once)).for_each(|_| write_sample(&repetition.sub, out));
        }
        HirKind::Capture(capture) => write_sample(&capture.sub, out),
        HirKind::Concat(parts) => parts.iter().for_each(|part| write_sample(part, out)),
        HirKind::Alternation(parts) => write_sample(&parts[0], out),
    }
}

pub fn changed_lines(before: &str, after: &str) -> (usize, usize) {
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
pub fn outcome(name: &str, text: &str, sops: Option<&Sops>) -> String {
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
        deleted <= all.len() * 2 && inserted <= all.len() * 3 + 1,
        "{name}: -{deleted} +{inserted}"
    );
    for rule in &all {
        round_trip(name, text, &addition(vec![rule.index], Vec::new()), &[]);
        // Each question takes a process: the first, the middle and the last rule of a file must do.
        let asked = [0, all.len() / 2, all.len() - 1].contains(&rule.index);
        let path = sample(rule.path_regex.unwrap_or_default());
        if let (Some(sops), Some(path), true) = (sops, path, asked) {
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
        others: winner
            .as_ref()
            .or(all.first())
            .and_then(|rule| others(&rules, rule))
            .unwrap_or_default(),
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
