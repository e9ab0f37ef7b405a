//! Edits `.sops.yaml`, changing only the lines that must change.
//!
//! Each edit collects byte replacements, applies them, parses the result and compares its meaning
//! with the intended one.
//!
//! Invariant: a returned [`Edited`] means exactly what was requested; otherwise the edit fails.
//! Nothing is written here.

use super::anchors;
use super::hosts;
use super::hosts::{HostEntry, Role, Unfound, Who};
use super::inline_names::Note;
use super::join;
use super::leave;
use super::meaning;
use super::meaning::RuleMeaning;
use super::new_rule;
use super::new_rule::NewRule;
use super::patch::{Patch, Unclear};
use super::yaml::{Node, Position};
use super::{Rules, RulesError};
use crate::error::{Advice, Exit};
use crate::sops::names;

#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error(transparent)]
    Rules(#[from] RulesError),
    #[error("cannot be edited safely at {}: {}", .0.at, .0.reason)]
    Unclear(#[from] Unclear),
    #[error("{host} could be any of {}", list(.found))]
    Several { host: String, found: Vec<(String, Position)> },
    #[error("there is no key of {0}")]
    NoHost(String),
    #[error("no key of {0} is there to be taken out or renamed")]
    NotThere(String),
    #[error("{name:?} cannot be a name in .sops.yaml: letters, digits, - and _ can")]
    BadName { name: String },
    #[error("this key is not known as {host}'s, but as {owner}'s{}", .person.then_some(", a person").unwrap_or_default())]
    Theirs { host: String, owner: String, person: bool },
    #[error("{host} has another key already: {old}")]
    OtherKey { host: String, old: String },
    #[error("the name {anchor} is taken by another key")]
    Taken { anchor: String },
    #[error("there is no rule {0}")]
    NoRule(usize),
    #[error("the edit would have changed more than it should ({0})")]
    Meaning(String),
}

fn list(found: &[(String, Position)]) -> String {
    let found: Vec<_> = found.iter().map(|(name, at)| format!("{name} ({at})")).collect();
    found.join(", ")
}

impl Advice for EditError {
    fn hint(&self) -> String {
        match self {
            Self::Rules(error) => error.hint(),
            Self::Several { .. } => {
                "Rename one of them, or name the right one: --anchor NAME".into()
            }
            Self::NoHost(host) => format!(
                "Add it: landfall secrets add-host {host} --key FILE. If it has another name in \
                 .sops.yaml, or none: --anchor NAME, or --old-recipient RECIPIENT."
            ),
            Self::NotThere(_) => "It may be out already: landfall secrets verify --all. If it has \
                another name in .sops.yaml, or none: --anchor NAME, or --old-recipient RECIPIENT."
                .into(),
            Self::BadName { .. } => "Choose another name: --anchor NAME".into(),
            Self::Theirs { host, owner, person: true } => {
                format!("Give the key that {host} has of its own, not that of {owner}.")
            }
            Self::Theirs { host, owner, .. } => format!(
                "Give the key that {host} has of its own. If {owner} is another name of {host}: \
                 landfall secrets rename-host {owner} {host}, or --anchor {owner}"
            ),
            Self::OtherKey { host, .. } => {
                format!("Replace it: landfall secrets add-host {host} --key FILE")
            }
            Self::Taken { .. } => "Choose another name: --anchor NAME".into(),
            Self::NoRule(_) => "Run the same command again: .sops.yaml has changed.".into(),
            Self::Unclear(_) | Self::Meaning(_) => {
                "Edit .sops.yaml by hand, then run: landfall secrets updatekeys".into()
            }
        }
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// The result of an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    pub text: String,
    /// Warnings for a person, before the text is written.
    pub warnings: Vec<String>,
}

/// A recipient to add, and where.
#[derive(Debug, Clone, Default)]
pub struct Addition {
    pub role: Role,
    pub host: String,
    pub recipient: String,
    /// The anchor's name, in place of the usual one.
    pub anchor: Option<String>,
    /// Indices of the rules that get the recipient.
    pub rules: Vec<usize>,
    /// Rules to create for it.
    pub new_rules: Vec<NewRule>,
}

fn find<'n>(rules: &'n Rules<'_>, who: &Who<'_>) -> Result<Option<HostEntry<'n>>, EditError> {
    match hosts::find(rules, who) {
        Ok(entry) => Ok(Some(entry)),
        Err(Unfound::Absent) => Ok(None),
        Err(Unfound::Several(found)) => {
            Err(EditError::Several { host: who.name.to_owned(), found })
        }
    }
}

fn find_known<'n>(rules: &'n Rules<'_>, who: &Who<'_>) -> Result<HostEntry<'n>, EditError> {
    find(rules, who)?.ok_or_else(|| EditError::NoHost(who.name.to_owned()))
}

/// Adds a host's recipient: its definition, and its use in the given rules.
///
/// Changes nothing where it is present already.
pub fn add(text: &str, addition: &Addition) -> Result<Edited, EditError> {
    let rules = Rules::parse(text)?;
    let Addition { role, host, recipient, anchor, .. } = addition;
    names::check(anchor.as_deref().unwrap_or(host))?;
    if let Some(anchor) = anchor.as_deref().filter(|anchor| hosts::anchor_part(anchor) != **anchor)
    {
        return Err(EditError::BadName { name: anchor.to_owned() });
    }
    let role = *role;
    let who = Who { role, name: host, anchor: anchor.as_deref(), recipient: None };
    let known = find(&rules, &who)?;
    if let Some(known) = known.as_ref().filter(|known| known.recipient != *recipient) {
        return Err(EditError::OtherKey { host: host.clone(), old: known.recipient.clone() });
    }
    let known = match known {
        None => names::known_otherwise(&rules, role, host, recipient)?,
        known => known,
    };
    let mut patch = Patch::new(text);
    let all = rules.rules()?;
    let targets = targets(&all, &addition.rules)?;
    let settled = !targets.is_empty() && targets.iter().all(|rule| rule.every_group_has(recipient));
    if settled && addition.new_rules.is_empty() {
        return Ok(Edited { text: text.to_owned(), warnings: Vec::new() });
    }
    rules.check_editable()?;
    let known_anchor = known.as_ref().and_then(|entry| entry.anchor);
    let mut place = anchors::find(&rules, role, host, anchor.as_deref());
    if let Some(place) =
        place.as_mut().filter(|place| anchor.is_none() && taken(&rules, &place.anchor))
    {
        place.anchor = format!("{}{}", role.usual_prefix(), hosts::anchor_part(host));
    }
    let literal_known = known.is_some() && known_anchor.is_none();
    let define = known_anchor.is_none() && !literal_known && place.is_some();
    // An alias is valid only below its definition.
    let first_use = targets.iter().map(|rule| rule.node.span.start).min();
    let defined_at = known_anchor
        .map(|node| node.start())
        .or_else(|| place.as_ref().filter(|_| define).map(anchors::Place::offset));
    let usable = defined_at.is_some_and(|at| first_use.is_none_or(|first| at < first));
    let name = known.as_ref().and_then(HostEntry::anchor_name).map(str::to_owned);
    let name = name.or_else(|| place.as_ref().filter(|_| define).map(|place| place.anchor.clone()));
    if define
        && usable
        && let Some(place) = &place
    {
        if taken(&rules, &place.anchor) {
            return Err(EditError::Taken { anchor: place.anchor.clone() });
        }
        place.insert(&rules, &mut patch, host, recipient)?;
    }
    let key =
        join::NewKey { role, recipient, alias: name.as_deref().filter(|_| usable), comment: host };
    let mut warnings = Vec::new();
    let joined = place.as_ref().filter(|_| define && usable);
    let lists =
        join::Lists { rules: &rules, all: &all, place: place.as_ref(), defined: joined.is_some() };
    for rule in &targets {
        join::add(&lists, &mut patch, rule, &key, &mut warnings)?;
    }
    if let Some(place) = joined {
        join::warn_of_shared(&all, place, &targets, &mut warnings);
    }
    for rule in &addition.new_rules {
        new_rule::insert(&rules, &mut patch, rule, &key)?;
    }
    let edited = Edited { text: patch.apply(), warnings };
    verify_addition(&rules, addition, joined, &edited.text)?;
    Ok(edited)
}

/// Says whether an anchor of this name exists.
fn taken(rules: &Rules<'_>, name: &str) -> bool {
    let is_it = |node: &&Node<'_>| node.anchor.as_ref().is_some_and(|a| a.plain_name() == name);
    rules.anchored().iter().any(is_it)
}

fn targets<'v, 'n>(
    all: &'v [crate::sops::rules::Rule<'n>],
    indices: &[usize],
) -> Result<Vec<&'v crate::sops::rules::Rule<'n>>, EditError> {
    indices.iter().map(|&index| all.get(index).ok_or(EditError::NoRule(index))).collect()
}

/// Checks that the host's rules gained its key, also rules that share a list with them, and that
/// nothing else changed.
fn verify_addition(
    before: &Rules<'_>,
    addition: &Addition,
    joined: Option<&anchors::Place<'_>>,
    text: &str,
) -> Result<(), EditError> {
    let after = Rules::parse(text)?;
    let all = before.rules()?;
    let key = ("age".to_owned(), addition.recipient.clone());
    let mut expected = Vec::new();
    for rule in &all {
        let target = addition.rules.contains(&rule.index);
        let mut meaning = meaning::of(before, rule);
        let gains = join::gains(before, &all, rule, &addition.rules, joined);
        for (index, group) in meaning.groups.iter_mut().enumerate() {
            if gains.contains(&index) && (target || !group.contains(&key)) {
                group.push(key.clone());
                *group = meaning::set(std::mem::take(group));
            }
        }
        expected.push(meaning);
    }
    let found = meaning::rules(&after)?;
    let new: Vec<_> = addition.new_rules.iter().map(|rule| rule.path_regex.as_str()).collect();
    let is_new =
        |rule: &&RuleMeaning| rule.path_regex.as_deref().is_some_and(|regex| new.contains(&regex));
    let old: Vec<_> =
        found.iter().filter(|rule| !is_new(rule) || expected.contains(rule)).cloned().collect();
    compare(&expected, &old)?;
    for rule in &addition.new_rules {
        let made = found.iter().find(|made| made.path_regex.as_ref() == Some(&rule.path_regex));
        if !made.is_some_and(|made| made.groups.iter().any(|group| group.contains(&key))) {
            return Err(EditError::Meaning(format!("the rule {} was not made", rule.path_regex)));
        }
    }
    if let Some(place) = joined {
        let defined = after.anchored().into_iter().any(|node| {
            let name = node.anchor.as_ref().map(|anchor| anchor.plain_name());
            name == Some(place.anchor.as_str())
                && node.filled().is_some_and(|value| value.trim() == addition.recipient)
        });
        if !defined {
            return Err(EditError::Meaning(format!("{} was not defined", place.anchor)));
        }
    }
    compare_settings(before, &after)
}

fn compare(expected: &[RuleMeaning], found: &[RuleMeaning]) -> Result<(), EditError> {
    if expected.len() != found.len() {
        let reason = format!("{} rules instead of {}", found.len(), expected.len());
        return Err(EditError::Meaning(reason));
    }
    match expected.iter().zip(found).position(|(expected, found)| expected != found) {
        Some(index) => Err(EditError::Meaning(format!("rule {}", index + 1))),
        None => Ok(()),
    }
}

fn compare_settings(before: &Rules<'_>, after: &Rules<'_>) -> Result<(), EditError> {
    if meaning::settings(before) != meaning::settings(after) {
        return Err(EditError::Meaning("settings beside the rules".to_owned()));
    }
    Ok(())
}

/// Replaces a host's recipient by another one, wherever it is used.
pub fn replace(text: &str, who: &Who<'_>, recipient: &str) -> Result<Edited, EditError> {
    let rules = Rules::parse(text)?;
    let entry = find_known(&rules, who)?;
    let old = entry.recipient.clone();
    if old == recipient {
        return Ok(Edited { text: text.to_owned(), warnings: Vec::new() });
    }
    rules.check_editable()?;
    let mut patch = Patch::new(text);
    let mut warnings = Vec::new();
    let Some(root) = rules.root() else { return Err(EditError::NoHost(who.name.to_owned())) };
    root.walk(&mut |node| {
        let Some(value) = node.scalar() else { return };
        let own = entry.anchor.is_some_and(|own| std::ptr::eq(own, node));
        if value.trim() == old
            && !own
            && let Some(other) = &node.anchor
        {
            warnings.push(format!("{} has the same old key and keeps it", other.plain_name()));
            return;
        }
        if !value.split(',').any(|part| part.trim() == old) {
            return;
        }
        for (at, found) in text[node.span.clone()].match_indices(&old) {
            let start = node.span.start + at;
            patch.replace(start..start + found.len(), recipient);
        }
    });
    let all = rules.rules()?;
    for (group, key) in
        all.iter().flat_map(|rule| &rule.groups).flat_map(|g| g.keys.iter().map(move |k| (g, k)))
    {
        if let Some(note) = Note::of_key(&rules, group, key).filter(|_| key.value == old) {
            note.replace(&mut patch, &old, recipient);
        }
    }
    let edited = Edited { text: patch.apply(), warnings };
    let kept: Vec<&str> = rules
        .anchored()
        .iter()
        .filter_map(|node| {
            let other = !entry.anchor.is_some_and(|own| std::ptr::eq(own, *node));
            let same = node.scalar().is_some_and(|value| value.trim() == old);
            node.anchor.as_ref().filter(|_| other && same).map(|anchor| &*anchor.name)
        })
        .collect();
    let mut expected = Vec::new();
    for rule in &rules.rules()? {
        expected.push(meaning::of_keys(&rules, rule, |key| {
            let keeps = key.node.alias().is_some_and(|alias| kept.contains(&alias));
            Some(if key.value == old && !keeps { recipient.to_owned() } else { key.value.clone() })
        }));
    }
    let after = Rules::parse(&edited.text)?;
    compare(&expected, &meaning::rules(&after)?)?;
    compare_settings(&rules, &after)?;
    Ok(edited)
}

/// Removes a host from all rules, and its definition from the file.
///
/// Removes also rules that are left without any key, and rules whose `path_regex` is listed in
/// `drop` (those that match no file any more).
pub fn remove(text: &str, who: &Who<'_>, drop: &[String]) -> Result<Edited, EditError> {
    let rules = Rules::parse(text)?;
    let Some(entry) = find(&rules, who)? else {
        return Ok(Edited { text: text.to_owned(), warnings: Vec::new() });
    };
    rules.check_editable()?;
    let mut patch = Patch::new(text);
    let mut warnings = Vec::new();
    leave::remove(&rules, &mut patch, &entry, drop, &mut warnings)?;
    let edited = Edited { text: patch.apply(), warnings };

    let after = Rules::parse(&edited.text)?;
    let mut expected = Vec::new();
    for rule in &rules.rules()? {
        let mut meaning = meaning::of_keys(&rules, rule, |key| {
            (!leave::is_entry(&rules, &entry, key)).then(|| key.value.clone())
        });
        let had = rule.groups.iter().any(|group| !group.keys.is_empty());
        meaning.groups.retain(|group| !group.is_empty());
        let dropped = rule.path_regex.is_some_and(|regex| drop.iter().any(|drop| drop == regex));
        if !dropped && (!meaning.groups.is_empty() || !had) {
            expected.push(meaning);
        }
    }
    let mut found = meaning::rules(&after)?;
    found.iter_mut().for_each(|rule| rule.groups.retain(|group| !group.is_empty()));
    compare(&expected, &found)?;
    compare_settings(&rules, &after)?;
    Ok(edited)
}

/// Renames a host in anchor, aliases, map key, comments and `path_regex`.
pub fn rename(text: &str, who: &Who<'_>, new: &str) -> Result<Edited, EditError> {
    let rules = Rules::parse(text)?;
    rules.check_editable()?;
    names::check(new)?;
    let entry = find(&rules, who)?.ok_or_else(|| EditError::NotThere(who.name.to_owned()))?;
    let old = who.name;
    if let Some(taken) = find(&rules, &Who { role: who.role, ..Who::named(new) })? {
        return Err(EditError::Taken { anchor: taken.anchor_name().unwrap_or(new).to_owned() });
    }
    let mut patch = Patch::new(text);
    let mut warnings = Vec::new();
    crate::sops::rules::rename::apply(&rules, &mut patch, &entry, old, new, &mut warnings);
    let edited = Edited { text: patch.apply(), warnings };
    let after = Rules::parse(&edited.text)?;
    let mut expected = meaning::rules(&rules)?;
    for rule in &mut expected {
        rule.path_regex = rule
            .path_regex
            .take()
            .map(|regex| crate::sops::rules::rename::in_regex(&regex, old, new));
    }
    compare(&expected, &meaning::rules(&after)?)?;
    compare_settings(&rules, &after)?;
    Ok(edited)
}
