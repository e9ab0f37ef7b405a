//! The meaning of a `.sops.yaml`, to be compared before and after an edit.

use super::{KEY_KINDS, Key, Rule, Rules, RulesError};

/// The meaning of one rule: its pattern, its groups as sorted sets of keys, its other settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleMeaning {
    pub(crate) path_regex: Option<String>,
    pub(crate) groups: Vec<Vec<(String, String)>>,
    pub(crate) rest: String,
}

/// Returns the meaning of all rules.
pub(crate) fn rules(rules: &Rules<'_>) -> Result<Vec<RuleMeaning>, RulesError> {
    Ok(rules.rules()?.iter().map(|rule| of(rules, rule)).collect())
}

/// Returns the meaning of one rule.
pub(crate) fn of(rules: &Rules<'_>, rule: &Rule<'_>) -> RuleMeaning {
    of_keys(rules, rule, |key| Some(key.value.clone()))
}

/// Returns the meaning of a rule with every key passed through `map`; `None` drops a key.
pub(crate) fn of_keys<'n>(
    rules: &Rules<'_>,
    rule: &Rule<'n>,
    map: impl Fn(&Key<'n>) -> Option<String>,
) -> RuleMeaning {
    let groups = rule.groups.iter().map(|group| {
        let keys = group.keys.iter();
        set(keys.filter_map(|key| Some((key.kind.to_owned(), map(key)?))).collect())
    });
    let mut rest: Vec<String> = Vec::new();
    for (key, value) in rule.node.entries().unwrap_or_default() {
        let name = key.scalar().unwrap_or_default();
        if name != "key_groups"
            && name != "path_regex"
            && !KEY_KINDS.contains(&name)
            && name != "<<"
        {
            rest.push(format!("{name}: {}", rules.canonical(value)));
        }
    }
    rest.sort();
    RuleMeaning {
        path_regex: rule.path_regex.map(str::to_owned),
        groups: groups.collect(),
        rest: rest.join("\n"),
    }
}

/// Sorts keys and removes duplicates, as sops does.
pub(crate) fn set(mut keys: Vec<(String, String)>) -> Vec<(String, String)> {
    keys.sort();
    keys.dedup();
    keys
}

/// Returns the top-level settings that are neither rules nor definitions of keys (`stores`,
/// `destination_rules`).
pub(crate) fn settings(rules: &Rules<'_>) -> Vec<String> {
    let entries = rules.root().and_then(|root| root.entries()).unwrap_or_default();
    let others = entries.iter().filter(|(key, value)| {
        let mut defines = false;
        value.walk(&mut |node| defines |= node.anchor.is_some());
        key.scalar() != Some("creation_rules") && key.scalar() != Some("keys") && !defines
    });
    others
        .map(|(key, value)| format!("{}: {}", rules.canonical(key), rules.canonical(value)))
        .collect()
}
