//! No `.sops.yaml` makes the parser or an edit panic, and what an edit added can
//! be renamed, replaced and taken out again without a trace.
#![no_main]

use std::path::Path;

use landfall::sops::rules::edit;
use landfall::sops::rules::edit::Addition;
use landfall::sops::rules::hosts::{Role, Who};
use landfall::sops::rules::new_rule::{NewRule, RuleKey};
use landfall::sops::rules::Rules;
use libfuzzer_sys::fuzz_target;

const KEY: &str = "age17044m9wgakla6pzftf4srtl3h5mcsr85jysgt5fg23zpnta8sfdqhzn452";
const OTHER_KEY: &str = "age1v8zjc47jmlqwefyu66s0d4ke98qr4vnuj3cpvs4z9npfdw833dxqwjrhzv";
const HOST: &str = "fuzzed";
const RENAMED: &str = "otherwise";
const REGEX: &str = "^hosts/fuzzed/x\\.yaml$";

fn there_and_back(text: &str, addition: &Addition, drop: &[String]) {
    let Ok(added) = edit::add(text, addition) else { return };
    if [HOST, RENAMED, KEY, OTHER_KEY].iter().any(|own| text.contains(own)) {
        return;
    }
    let again = Addition { new_rules: Vec::new(), ..addition.clone() };
    assert_eq!(edit::add(&added.text, &again).expect("adding again").text, added.text);
    let who = Who { role: addition.role, name: HOST, recipient: Some(KEY), ..Who::default() };
    if let Ok(replaced) = edit::replace(&added.text, &who, OTHER_KEY) {
        assert_eq!(replaced.text, added.text.replace(KEY, OTHER_KEY));
    }
    let _ = edit::rename(&added.text, &who, RENAMED);
    if let Ok(removed) = edit::remove(&added.text, &who, drop) {
        assert_eq!(removed.text, text);
    }
}

fuzz_target!(|text: &str| {
    let Ok(rules) = Rules::parse(text) else { return };
    let Ok(all) = rules.rules() else { return };
    let _ = rules.rule_for(Path::new("hosts/a/x.yaml"));
    // A rule that holds only the host's key goes with it, also when it had none before.
    let keyless = all.iter().any(|rule| rule.groups.iter().all(|group| group.keys.is_empty()));
    if keyless {
        let _ = edit::add(
            text,
            &Addition { rules: vec![0], recipient: KEY.into(), ..Addition::default() },
        );
        return;
    }
    let addition = |role, rules: Vec<usize>, new_rules| Addition {
        role,
        host: HOST.into(),
        recipient: KEY.into(),
        rules,
        new_rules,
        ..Addition::default()
    };
    let every: Vec<usize> = (0..all.len()).collect();
    for role in [Role::Host, Role::Person] {
        there_and_back(text, &addition(role, vec![0], Vec::new()), &[]);
        there_and_back(text, &addition(role, every.clone(), Vec::new()), &[]);
    }
    // A section without rules looks the same whether it was there or was made.
    if all.is_empty() {
        return;
    }
    let others = vec![RuleKey::new("age", OTHER_KEY)];
    let new_rule = NewRule { path_regex: REGEX.into(), others, before: Some(0) };
    there_and_back(text, &addition(Role::Host, Vec::new(), vec![new_rule]), &[REGEX.into()]);
});
