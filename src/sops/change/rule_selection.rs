//! Which rules a host joins for the files that it needs, and which go with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::error::SopsError;
use super::repo;
use super::rewrap;
use super::sops_yaml::Config;
use crate::sops::file::format::Format;
use crate::sops::file::{EncryptedFile, FileError};
use crate::sops::rules::anchors;
use crate::sops::rules::hosts;
use crate::sops::rules::hosts::Role;
use crate::sops::rules::new_rule;
use crate::sops::rules::new_rule::NewRule;
use crate::sops::rules::rename;
use crate::sops::rules::{Rule, Rules, RulesError, winner};

/// Paths relative to the config's folder.
pub fn relative_files(
    dir: &Path,
    repo_dir: &Path,
    files: &[PathBuf],
) -> Result<Vec<PathBuf>, SopsError> {
    let relative = files.iter().map(|file| {
        let full = if file.is_absolute() { file.clone() } else { repo_dir.join(file) };
        if !full.exists() {
            return Err(SopsError::Missing(full));
        }
        if let Ok(relative) = full.strip_prefix(dir) {
            return Ok(relative.to_owned());
        }
        let real =
            full.canonicalize().map_err(|source| SopsError::Read { path: full.clone(), source })?;
        let real_dir =
            dir.canonicalize().map_err(|source| SopsError::Read { path: dir.into(), source })?;
        real.strip_prefix(real_dir).map(Path::to_owned).map_err(|_| SopsError::Outside(full))
    });
    relative.collect()
}

/// Refuses files that are asked for by name and are not encrypted.
pub fn check_encrypted(dir: &Path, files: &[PathBuf]) -> Result<(), SopsError> {
    for file in files {
        let path = dir.join(file);
        if rewrap::read_encrypted(&path)?.is_none() {
            let empty = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == 0);
            let source = if empty { FileError::Empty } else { FileError::NotEncrypted };
            return Err(SopsError::File { path, source: Box::new(source), searched: Vec::new() });
        }
    }
    Ok(())
}

/// The rules to join for these files, and the rules to make for those without one.
pub fn rules_for(
    config: &Config<'_>,
    rules: &Rules<'_>,
    files: &[PathBuf],
) -> Result<(Vec<usize>, Vec<NewRule>), SopsError> {
    let all = rules.rules().map_err(|source| config.rules_error(source))?;
    let mut joined = Vec::new();
    let mut made: Vec<NewRule> = Vec::new();
    for file in files {
        let winner = winner(&all, file).map_err(|source| config.rules_error(source))?;
        match winner {
            Some(rule) if !rule.is_catch_all() => joined.push(rule.index),
            winner => {
                let new = new_rule_for(config, winner, file)?;
                if !made.iter().any(|known| known.path_regex == new.path_regex) {
                    made.push(new);
                }
            }
        }
    }
    Ok((joined, made))
}

/// A rule for one file: whoever can read it now still can.
pub fn new_rule_for(
    config: &Config<'_>,
    winner: Option<&Rule<'_>>,
    file: &Path,
) -> Result<NewRule, SopsError> {
    let others = match winner {
        Some(rule) => {
            if rule.groups.len() > 1
                || rule.groups.iter().flat_map(|group| &group.keys).any(|key| key.kind != "age")
            {
                return Err(SopsError::OtherKinds { path: file.into(), rule: rule.name() });
            }
            new_rule::others(rule)
        }
        None => {
            let path = config.dir.join(file);
            let text = std::fs::read_to_string(&path)
                .map_err(|source| SopsError::Read { path: path.clone(), source })?;
            let parsed = EncryptedFile::parse(&text, Format::of_path(file));
            let parsed = parsed.map_err(|source| SopsError::File {
                path,
                source: Box::new(source),
                searched: Vec::new(),
            })?;
            parsed.metadata.recipients().map(str::to_owned).collect()
        }
    };
    Ok(NewRule {
        path_regex: new_rule::regex_for(&file.to_string_lossy()),
        others,
        before: winner.map(|rule| rule.index),
    })
}

/// The recipients of the people in charge, for a rule about files that do not exist yet.
///
/// `operator` are the recipients of whoever runs this. Another host must never be
/// among them: who is called a person, or is in every one of several rules and is
/// not called a host, counts.
pub fn people(rules: &Rules<'_>, all: &[Rule<'_>], operator: &[String]) -> Vec<String> {
    let in_all = |key: &str| all.iter().all(|rule| rule.recipients().contains(&key));
    let hosts = anchors::known_hosts(rules, "");
    let persons: Vec<&str> = hosts::keys_of(rules, Role::Person);
    let named_by_a_rule = |key: &str| {
        let anchored = rules.anchored();
        let names = anchored.iter().filter(|node| node.scalar().map(str::trim) == Some(key));
        let names: Vec<&str> = names
            .filter_map(|node| node.anchor.as_ref().map(|anchor| anchor.plain_name()))
            .collect();
        all.iter().filter_map(|rule| rule.path_regex).any(|regex| {
            names.iter().any(|name| {
                let prefix = Role::Host.prefix(name).map_or(0, str::len);
                names_host(regex, &name[prefix..])
            })
        })
    };
    let mut people: Vec<String> = Vec::new();
    for key in all.iter().flat_map(Rule::recipients) {
        let is_operator = operator.iter().any(|own| own == key);
        let is_person = persons.contains(&key) && in_all(key);
        let everywhere =
            all.len() > 1 && in_all(key) && !hosts.contains(&key) && !named_by_a_rule(key);
        if (is_operator || is_person || everywhere) && !people.iter().any(|known| known == key) {
            people.push(key.to_owned());
        }
    }
    if people.is_empty() { operator.to_vec() } else { people }
}

/// The rules that go with a host: those that name it and hold for no file, and one that
/// was made for a single file, which the next rule gives to the same readers.
///
/// Another rule stays, though it may hold for no file yet: it is not about the host.
pub fn rules_that_go(
    config: &Config<'_>,
    repo_dir: &Path,
    rules: &Rules<'_>,
    host: &str,
    recipient: &str,
) -> Result<Vec<String>, SopsError> {
    let all = rules.rules().map_err(|source| config.rules_error(source))?;
    let files = repo::files_below(repo_dir, &config.dir)?;
    let mut held: Vec<Vec<&Path>> = vec![Vec::new(); all.len()];
    for file in &files {
        if let Some(rule) = winner(&all, file).map_err(|source| config.rules_error(source))? {
            held[rule.index].push(file);
        }
    }
    let readers = |rule: &Rule<'_>| -> Option<BTreeSet<String>> {
        let keys = &rule.groups.iter().map(|group| &group.keys).collect::<Vec<_>>();
        let [keys] = keys.as_slice() else { return None };
        let others = keys.iter().filter(|key| key.value != recipient);
        others.map(|key| (key.kind == "age").then(|| key.value.clone())).collect()
    };
    let goes = |rule: &Rule<'_>| -> Result<bool, RulesError> {
        let Some(regex) = rule.path_regex.filter(|_| !rule.is_catch_all()) else {
            return Ok(false);
        };
        Ok(match held[rule.index].as_slice() {
            _ if !rule.recipients().contains(&recipient) => false,
            [] => names_host(regex, host),
            [file] if regex == new_rule::regex_for(&file.to_string_lossy()) => {
                let next = winner(&all[rule.index + 1..], file)?;
                next.is_some_and(|next| readers(rule).is_some() && readers(rule) == readers(next))
            }
            _ => false,
        })
    };
    let mut going = Vec::new();
    for rule in &all {
        if goes(rule).map_err(|source| config.rules_error(source))? {
            going.extend(rule.path_regex.map(str::to_owned));
        }
    }
    Ok(going)
}

/// Of the other hosts, how many a rule must hold for to be likely: 3 of 4.
const LIKELY: (usize, usize) = (3, 4);

/// The rules whose pattern names the host, and those that most other hosts are in.
pub fn likely_rules(rules: &Rules<'_>, all: &[Rule<'_>], host: &str) -> Vec<String> {
    let others = anchors::known_hosts(rules, host);
    let likely = all.iter().filter(|rule| !rule.is_catch_all()).filter(|rule| {
        let named = rule.path_regex.is_some_and(|regex| names_host(regex, host));
        let recipients = rule.recipients();
        let holds = others.iter().filter(|other| recipients.contains(other)).count();
        named || others.len() > 1 && holds * LIKELY.1 >= others.len() * LIKELY.0
    });
    likely.filter_map(|rule| rule.path_regex.map(str::to_owned)).collect()
}

fn names_host(regex: &str, host: &str) -> bool {
    rename::in_regex(regex, host, "") != regex
}
