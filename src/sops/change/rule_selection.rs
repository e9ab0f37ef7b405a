//! Which rules a host joins for the files that it needs, and which go with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::error::SopsError;
use super::rewrap;
use super::sops_yaml::SopsConfig;
use crate::sops::access;
use crate::sops::access::FileKey;
use crate::sops::file::{EncryptedFile, FileError};
use crate::sops::listing::{Listed, Listing};
use crate::sops::proof::identities::Identities;
use crate::sops::rules::anchors;
use crate::sops::rules::go_regex;
use crate::sops::rules::hosts;
use crate::sops::rules::hosts::Role;
use crate::sops::rules::new_rule;
use crate::sops::rules::new_rule::{NewRule, RuleKey};
use crate::sops::rules::rename;
use crate::sops::rules::{Rule, Rules, RulesError};

/// The files that are meant by these paths, each once.
pub(crate) fn named_files(
    listing: &Listing,
    repo_dir: &Path,
    files: &[PathBuf],
) -> Result<Vec<Listed>, SopsError> {
    let mut named: Vec<Listed> = Vec::new();
    for file in files {
        let full = if file.is_absolute() { file.clone() } else { repo_dir.join(file) };
        let Some(found) = listing.find(&full)? else { return Err(SopsError::Missing(full)) };
        if let Some(config) = listing.nested_config(&found.path) {
            return Err(SopsError::Nested { path: full, config });
        }
        if found.names.is_empty() {
            return Err(SopsError::Outside(full));
        }
        match named.iter_mut().find(|known| known.path == found.path) {
            Some(known) => known.names.extend(found.names),
            None => named.push(found),
        }
    }
    Ok(named)
}

/// Refuses files that are asked for by name and are not encrypted.
pub(crate) fn check_encrypted(files: &[Listed]) -> Result<(), SopsError> {
    for Listed { path, .. } in files {
        if rewrap::read_encrypted(path)?.is_none() {
            let empty = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0);
            let source = if empty { FileError::Empty } else { FileError::NotEncrypted };
            return Err(SopsError::File {
                path: path.clone(),
                source: Box::new(source),
                searched: Vec::new(),
            });
        }
    }
    Ok(())
}

/// The rules to join for these files, and the rules to make for those without one.
///
/// A rule that holds for everything is left alone, unless `recipient` is in it already.
pub(crate) fn rules_for(
    config: &SopsConfig<'_>,
    rules: &Rules<'_>,
    files: &[Listed],
    recipient: &str,
) -> Result<(Vec<usize>, Vec<NewRule>), SopsError> {
    let all = rules.rules().map_err(|source| config.rules_error(source))?;
    let mut joined = Vec::new();
    let mut made: Vec<NewRule> = Vec::new();
    for file in files {
        let winner = file.winner(&all).map_err(|source| config.rules_error(source))?;
        match winner.map(|(rule, _)| rule) {
            Some(rule) if !rule.is_catch_all() || rule.every_group_has(recipient) => {
                joined.push(rule.index);
            }
            winner => {
                let new = new_rule_for(rules, winner, file)?;
                if !made.iter().any(|known| known.path_regex == new.path_regex) {
                    made.push(new);
                }
            }
        }
    }
    Ok((joined, made))
}

/// A rule for one file: whoever can read it now still can.
fn new_rule_for(
    rules: &Rules<'_>,
    winner: Option<&Rule<'_>>,
    file: &Listed,
) -> Result<NewRule, SopsError> {
    let name = file.name();
    let others = match winner {
        Some(rule) => new_rule::others(rules, rule)
            .ok_or_else(|| SopsError::OtherKinds { path: name.to_owned(), rule: rule.name() })?,
        None => readers(file)?,
    };
    Ok(NewRule {
        path_regex: new_rule::regex_for(&name.to_string_lossy()),
        others,
        before: winner.map(|rule| rule.index),
    })
}

/// The keys of a file that no rule holds for.
fn readers(file: &Listed) -> Result<Vec<RuleKey>, SopsError> {
    let failed = |source| SopsError::File {
        path: file.path.clone(),
        source: Box::new(source),
        searched: Vec::new(),
    };
    let Some((text, format)) = rewrap::read_encrypted(&file.path)? else {
        return Err(failed(FileError::NotEncrypted));
    };
    let parsed = EncryptedFile::parse(&text, format).map_err(failed)?;
    let no_rule = || SopsError::OtherKinds { path: file.name().to_owned(), rule: "no rule".into() };
    let keys = parsed.metadata.access();
    if keys.groups.len() != 1 {
        return Err(no_rule());
    }
    let age = parsed.metadata.recipients().map(|recipient| RuleKey::new("age", recipient));
    let others = keys.keys().into_iter().filter(|key| key.kind != "age");
    let others = others.map(|key| match key.kind {
        "pgp" | "hc_vault" => Ok(RuleKey::new(key.kind, &key.id)),
        _ => Err(no_rule()),
    });
    age.map(Ok).chain(others).collect()
}

/// What a rule that is named by its `path_regex` comes to.
pub(crate) enum ForRegex {
    /// It is there, at this index.
    Joined(usize),
    Made(NewRule),
}

/// The rule with this `path_regex`, or one to be made above all others. A new rule keeps the
/// readers of the files that it takes over; where they differ from file to file, it would
/// shut somebody out or let somebody in, and is refused.
pub(crate) fn rule_of_regex(
    config: &SopsConfig<'_>,
    rules: &Rules<'_>,
    listing: &Listing,
    regex: &str,
    identities: &Identities,
) -> Result<ForRegex, SopsError> {
    let all = rules.rules().map_err(|source| config.rules_error(source))?;
    if let Some(rule) = all.iter().find(|rule| rule.path_regex.unwrap_or_default() == regex) {
        return Ok(ForRegex::Joined(rule.index));
    }
    let mut taken: Option<Vec<RuleKey>> = None;
    for file in taken_by(listing, regex)? {
        let winner = file.winner(&all).map_err(|source| config.rules_error(source))?;
        let keys = new_rule_for(rules, winner.map(|(rule, _)| rule), file)?.others;
        let same = |known: &Vec<RuleKey>| {
            known.iter().all(|key| keys.contains(key)) && known.len() == keys.len()
        };
        if !taken.as_ref().is_none_or(same) {
            let holds = winner.map_or("no rule".into(), |(rule, _)| rule.name());
            let path = file.name().to_owned();
            return Err(SopsError::TakesOver { regex: regex.to_owned(), path, holds });
        }
        taken = Some(keys);
    }
    let others = taken.unwrap_or_else(|| {
        let people = people(rules, &all, &identities.recipients());
        people.iter().map(|recipient| RuleKey::new("age", recipient)).collect()
    });
    Ok(ForRegex::Made(NewRule { path_regex: regex.to_owned(), others, before: Some(0) }))
}

/// The encrypted files that a rule above all others would hold for.
fn taken_by<'l>(listing: &'l Listing, regex: &str) -> Result<Vec<&'l Listed>, SopsError> {
    // What does not compile holds for nothing, and is refused with its place by the edit.
    let Ok(regex) = go_regex::compile(regex) else { return Ok(Vec::new()) };
    let mut taken = Vec::new();
    for file in &listing.files {
        let matches = file.names.iter().any(|name| regex.is_match(&name.to_string_lossy()));
        if matches && rewrap::read_encrypted(&file.path)?.is_some() {
            taken.push(file);
        }
    }
    Ok(taken)
}

/// The recipients of the people in charge, for a rule about files that do not exist yet.
///
/// `operator` are the recipients of whoever runs this. Another host must never be
/// among them: who is called a person, or is in every one of several rules and is
/// not called a host, counts.
pub(crate) fn people(rules: &Rules<'_>, all: &[Rule<'_>], operator: &[String]) -> Vec<String> {
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

/// The rules that go with a host: those that landfall made, and that nobody needs without
/// it. They hold for no file any more, or for files that the next rule gives to the same
/// readers, or that no other rule holds for.
///
/// Another rule stays, though it may hold for no file yet: somebody wrote it.
pub(crate) fn rules_that_go(
    config: &SopsConfig<'_>,
    listing: &Listing,
    rules: &Rules<'_>,
    host: &str,
    recipient: &str,
) -> Result<Vec<String>, SopsError> {
    let failed = |source| config.rules_error(source);
    let all = rules.rules().map_err(failed)?;
    let hosts = anchors::known_hosts(rules, host);
    let mut held: Vec<Vec<&Listed>> = vec![Vec::new(); all.len()];
    for file in &listing.files {
        if let Some((rule, _)) = file.winner(&all).map_err(failed)?
            && rewrap::read_encrypted(&file.path)?.is_some()
        {
            held[rule.index].push(file);
        }
    }
    let readers = |rule: &Rule<'_>| -> Vec<BTreeSet<FileKey>> {
        let mut groups = access::wanted(rules, rule).groups;
        groups.iter_mut().for_each(|group| group.retain(|key| key.id != recipient));
        groups
    };
    let goes = |rule: &Rule<'_>| -> Result<bool, RulesError> {
        if !rule.recipients().contains(&recipient) || !new_rule::is_made(rules, rule) {
            return Ok(false);
        }
        let own = readers(rule);
        if own.iter().flatten().any(|key| hosts.contains(&key.id.as_str())) {
            return Ok(false);
        }
        for file in &held[rule.index] {
            let next = file.winner(&all[rule.index + 1..])?;
            if next.is_some_and(|(next, _)| readers(next) != own) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let mut going = Vec::new();
    for rule in &all {
        if goes(rule).map_err(failed)? {
            going.extend(rule.path_regex.map(str::to_owned));
        }
    }
    Ok(going)
}

/// Of the other hosts, how many a rule must hold for to be likely: 3 of 4.
const LIKELY: (usize, usize) = (3, 4);

/// The rules whose pattern names the host, and those that most other hosts are in.
pub(crate) fn likely_rules(rules: &Rules<'_>, all: &[Rule<'_>], host: &str) -> Vec<String> {
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
