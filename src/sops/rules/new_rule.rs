//! Creates a rule for files that no rule, or only a catch-all, covers.
//!
//! The rule is inserted before the one that applied until then, in the layout of its neighbour.
//! It takes over that rule's other keys, so that whoever could decrypt the files still can.

use super::hosts::line_comment;
use super::join::NewKey;
use super::patch::{Patch, Unclear};
use super::yaml::{Node, YamlStyle};
use super::{Rule, Rules};

/// A rule to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewRule {
    pub path_regex: String,
    /// The keys of the rule in addition to the host's.
    pub others: Vec<RuleKey>,
    /// Index of the rule to insert before; `None` appends the rule.
    pub before: Option<usize>,
}

/// A key, as a key group lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleKey {
    pub(crate) kind: &'static str,
    pub(crate) value: String,
}

impl RuleKey {
    pub fn new(kind: &'static str, value: &str) -> Self {
        Self { kind, value: value.to_owned() }
    }
}

/// The comment that marks a rule as created by landfall, which is removed with its last host.
const MADE: &str = "made by landfall";

/// Says whether landfall created a rule.
pub(crate) fn is_made(rules: &Rules<'_>, rule: &Rule<'_>) -> bool {
    let regex = rule.node.get("path_regex");
    regex.is_some_and(|regex| line_comment(rules, regex.span.end) == Some(MADE))
}

/// Returns a `path_regex` for exactly this path (relative to the config's directory).
pub(crate) fn regex_for(path: &str) -> String {
    let mut regex = String::from("^");
    for c in path.chars() {
        if matches!(
            c,
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' | '|' | '\\'
        ) {
            regex.push('\\');
        }
        regex.push(c);
    }
    regex.push('$');
    regex
}

/// Inserts the rule.
pub(crate) fn insert(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    rule: &NewRule,
    key: &NewKey<'_>,
) -> Result<(), Unclear> {
    let all = match rules.rules() {
        Ok(all) => all,
        Err(error) => return Err(patch.unclear(0, error.to_string())),
    };
    if all.iter().any(|known| known.path_regex == Some(rule.path_regex.as_str())) {
        return Ok(());
    }
    let Some(list) = rules.rules_node().map(|list| rules.resolve(list)) else {
        return insert_section(rules, patch, rule, key);
    };
    let items = list.items().unwrap_or_default();
    let at = rule.before.unwrap_or(items.len()).min(items.len());
    let layout = Layout::of(rules, patch, &all, at)?;
    let write = |newline| layout.write(rules, newline, rule, key);
    if items.is_empty() {
        if list.style().is_some() {
            let newline = patch.newline_at(list.span.start);
            patch.replace(list.span.clone(), format!("{newline}{}", write(newline)));
            return Ok(());
        }
        let end = patch.line_end(list.span.start);
        let newline = patch.newline_at(end);
        patch.replace(end..end, format!("{newline}{}", write(newline)));
        return Ok(());
    }
    if list.style() == Some(YamlStyle::Flow) {
        return Err(patch.unclear(list.span.start, "creation_rules is written in one line"));
    }
    let blank = |newline| if layout.blank_between { newline } else { "" };
    if at == 0 {
        let line = patch.line_start(above_comments(rules, patch, list, &items[0]));
        let newline = patch.newline_at(line);
        patch.replace(line..line, format!("{}{newline}{}", write(newline), blank(newline)));
        return Ok(());
    }
    let end = patch.line_end(patch.content_end(&items[at - 1]));
    let newline = patch.newline_at(end);
    patch.replace(end..end, format!("{newline}{}{}", blank(newline), write(newline)));
    Ok(())
}

/// Returns the offset of the comment lines above the first rule, which belong to it.
fn above_comments(
    rules: &Rules<'_>,
    patch: &Patch<'_>,
    list: &Node<'_>,
    first: &Node<'_>,
) -> usize {
    let mut start = patch.line_start(first.start());
    while start > 0 {
        let above = patch.line_start(start - 1);
        if !rules.text[above..start].trim_start().starts_with('#')
            || above < list.span.start.saturating_sub(start)
        {
            break;
        }
        start = above;
    }
    start
}

fn insert_section(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    rule: &NewRule,
    key: &NewKey<'_>,
) -> Result<(), Unclear> {
    let newline = patch.newline();
    let text = Layout::default().write(rules, newline, rule, key);
    let end = rules.text.len();
    let lead = if rules.text.is_empty() || rules.text.ends_with('\n') { "" } else { newline };
    patch.replace(end..end, format!("{lead}creation_rules: # {MADE}{newline}{text}{newline}"));
    Ok(())
}

/// Removes the section `creation_rules` with its last rule, and leaves what was there before
/// [`insert`] wrote the first: nothing, or an empty list.
pub(crate) fn remove_section(rules: &Rules<'_>, patch: &mut Patch<'_>) {
    let Some((name, list)) = rules.root().and_then(|root| root.entry("creation_rules")) else {
        return;
    };
    let end = patch.line_end(name.span.end);
    if line_comment(rules, name.span.end) == Some(MADE) {
        patch.remove_lines(patch.line_start(name.span.start), patch.content_end(list));
    } else if rules.text[name.span.end..end] == *": " {
        patch.replace(end..end, "[]");
    }
}

/// Columns of a rule's parts.
#[derive(Debug)]
struct Layout {
    rule_dash: usize,
    key: usize,
    group_dash: usize,
    age: usize,
    item_dash: usize,
    quote: &'static str,
    blank_between: bool,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            rule_dash: 2,
            key: 4,
            group_dash: 6,
            age: 8,
            item_dash: 10,
            quote: "",
            blank_between: false,
        }
    }
}

impl Layout {
    /// Measures the rule beside the place, else any other.
    fn of(
        rules: &Rules<'_>,
        patch: &Patch<'_>,
        all: &[Rule<'_>],
        at: usize,
    ) -> Result<Self, Unclear> {
        let mut layout = Self::default();
        let Some(near) = all.get(at.saturating_sub(1)).or(all.last()) else { return Ok(layout) };
        let column = |offset: usize| rules.text[patch.line_start(offset)..offset].chars().count();
        if near.node.style() == Some(YamlStyle::Flow) {
            return Ok(layout);
        }
        layout.key = column(near.node.span.start);
        let prefix = patch.block_prefix(true, near.node.start())?;
        layout.rule_dash = prefix.rfind('-').unwrap_or(0);
        let (group, age, item) = (layout.key + 2, layout.key + 4, layout.key + 6);
        (layout.group_dash, layout.age, layout.item_dash) = (group, age, item);
        let grouped = std::iter::once(near)
            .chain(all.iter().rev())
            .find_map(|rule| block_group(rule).map(|parts| (rule, parts)));
        if let Some((rule, (group, age_key, item))) = grouped {
            let base = column(rule.node.span.start);
            let shift = |c: usize| (c + layout.key).saturating_sub(base);
            let dash = |offset: usize| {
                patch.block_prefix(true, offset).map(|prefix| prefix.rfind('-').unwrap_or(0))
            };
            layout.group_dash = shift(dash(group.start())?);
            layout.age = shift(column(age_key.start()));
            layout.item_dash = shift(dash(item.start())?);
        }
        if let Some(node) = near.node.get("path_regex") {
            layout.quote = match rules.text[node.span.clone()].chars().next() {
                Some('\'') => "'",
                _ => "",
            };
        }
        layout.blank_between = blank_between(rules, all);
        Ok(layout)
    }

    fn write(&self, rules: &Rules<'_>, newline: &str, rule: &NewRule, key: &NewKey<'_>) -> String {
        let pad = |column: usize| " ".repeat(column);
        let behind_dash = |dash: usize, column: usize| pad(column.saturating_sub(dash + 1).max(1));
        let mut text = format!(
            "{}-{}path_regex: {} # {MADE}{newline}{}key_groups:{newline}{}-{}age:",
            pad(self.rule_dash),
            behind_dash(self.rule_dash, self.key),
            quoted(&rule.path_regex, self.quote),
            pad(self.key),
            pad(self.group_dash),
            behind_dash(self.group_dash, self.age),
        );
        let of_kind = |kind: &'static str| {
            let others = rule.others.iter().filter(move |other| other.kind == kind);
            others.filter(|other| other.value != key.recipient).map(|other| written(rules, other))
        };
        let mut push = |item: String| {
            text.push_str(&format!("{newline}{}- {item}", pad(self.item_dash)));
        };
        of_kind("age").chain(std::iter::once(key.line(""))).for_each(&mut push);
        for kind in OTHER_KINDS {
            let mut keys = of_kind(kind).peekable();
            if keys.peek().is_some() {
                text.push_str(&format!("{newline}{}{kind}:", pad(self.age)));
            }
            keys.for_each(|item| {
                text.push_str(&format!("{newline}{}- {item}", pad(self.item_dash)));
            });
        }
        text
    }
}

/// Returns the first block group of a rule: the group, its key `age`, its first item.
fn block_group<'n>(rule: &Rule<'n>) -> Option<(&'n Node<'n>, &'n Node<'n>, &'n Node<'n>)> {
    let group = rule.groups.first().filter(|_| rule.grouped)?;
    let (key, list) =
        group.node.entry("age").or_else(|| group.node.entries()?.first().map(|e| e as _))?;
    let item = list.items()?.first()?;
    (list.style() == Some(YamlStyle::Block) && group.node.style() == Some(YamlStyle::Block))
        .then_some((group.node, key, item))
}

/// Says whether blank lines separate most rules.
fn blank_between(rules: &Rules<'_>, all: &[Rule<'_>]) -> bool {
    let apart = all.windows(2).filter(|pair| {
        let between =
            &rules.text[pair[0].node.span.end.min(pair[1].node.start())..pair[1].node.start()];
        between.lines().skip(1).any(|line| line.trim().is_empty())
    });
    apart.count() * 2 > all.len().saturating_sub(1)
}

/// Formats a recipient as the config does: an alias of its anchor, else literally.
fn written(rules: &Rules<'_>, key: &RuleKey) -> String {
    let recipient = key.value.as_str();
    let anchored = rules.anchored();
    let rules_start = rules.rules_node().map_or(0, |node| node.span.start);
    let named = anchored.iter().find(|node| {
        node.scalar().is_some_and(|value| value.trim() == recipient) && node.start() < rules_start
    });
    match named.and_then(|node| node.anchor.as_ref()) {
        Some(anchor) => format!("*{}", anchor.name),
        None => match key.kind {
            "kms" => format!("arn: {recipient}"),
            "gcp_kms" => format!("resource_id: {recipient}"),
            _ => recipient.to_owned(),
        },
    }
}

/// Quotes a text as a YAML scalar.
fn quoted(regex: &str, quote: &str) -> String {
    let plain = quote.is_empty()
        && !regex.contains(": ")
        && !regex.contains(" #")
        && !regex.ends_with(':')
        && regex.trim() == regex
        && regex.chars().next().is_some_and(|c| {
            c.is_ascii_alphanumeric() || matches!(c, '^' | '.' | '/' | '_' | '(' | '\\' | '$')
        });
    if plain { regex.to_owned() } else { format!("'{}'", regex.replace('\'', "''")) }
}

/// Kinds other than age whose keys have the same form in a group as in a rule.
const OTHER_KINDS: [&str; 4] = ["pgp", "kms", "gcp_kms", "hc_vault"];

/// Returns the keys of a rule that a new rule takes over; `None` where one group cannot list
/// them.
pub fn others(rules: &Rules<'_>, rule: &Rule<'_>) -> Option<Vec<RuleKey>> {
    let [group] = rule.groups.as_slice() else { return None };
    let mut others: Vec<RuleKey> = Vec::new();
    for key in &group.keys {
        let is_map = rules.resolve(&key.node).entries().is_some();
        let kind = match key.kind {
            "hc_vault_transit_uri" => "hc_vault",
            kind => ["age"].into_iter().chain(OTHER_KINDS).find(|known| *known == kind)?,
        };
        if is_map {
            return None;
        }
        for part in key.value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let other = RuleKey::new(kind, part);
            if !others.contains(&other) {
                others.push(other);
            }
        }
    }
    Some(others)
}
