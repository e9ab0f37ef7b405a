//! YAML and JSON files, and the JSON envelope of binary ones.

use std::borrow::Cow;
use std::ops::Range;

use granit_parser::ScalarStyle;

use super::format::Format;
use super::json;
use super::metadata::{Metadata, OTHER_KINDS, Wrapped};
use super::{FileError, LeafVisit, Value};
use crate::sops::access::Fields;
use crate::sops::rules::yaml;
use crate::sops::rules::yaml::{Kind, Node, YamlStyle, position};

/// All documents of a file; each has the same `sops` section.
#[derive(Debug)]
pub(crate) struct Documents<'a> {
    text: &'a str,
    format: Format,
    roots: Vec<Node<'a>>,
}

impl<'a> Documents<'a> {
    pub(crate) fn parse(text: &'a str, format: Format) -> Result<Self, FileError> {
        let roots = match format {
            Format::Yaml => yaml::parse(text)?.documents,
            _ => match json::parse(text) {
                Ok(root) => vec![root],
                // A binary file that was never encrypted is rarely JSON.
                Err(_) if format == Format::Binary => return Err(FileError::NotEncrypted),
                Err(error) => return Err(error.into()),
            },
        };
        Ok(Self { text, format, roots })
    }

    fn section(&self) -> Result<&Node<'a>, FileError> {
        let section = self.roots.first().and_then(|root| root.get("sops"));
        section.filter(|node| node.entries().is_some()).ok_or(FileError::NotEncrypted)
    }

    pub(crate) fn metadata(&self) -> Result<Metadata, FileError> {
        let section = self.section()?;
        let mut metadata = Metadata::default();
        for (key, value) in section.entries().unwrap_or_default() {
            let name = key.scalar().unwrap_or_default();
            keys_of(&mut metadata.keys, None, name, value);
            let filled = value.items().is_some_and(|items| !items.is_empty());
            match value.scalar() {
                Some(text) if !value.is_null() => {
                    metadata
                        .set(name, text)
                        .map_err(|reason| FileError::NeedsSops(format!("{name}: {reason}")))?;
                }
                _ if name == "age" => metadata.age = self.wrapped(value)?,
                _ if name == "key_groups" => {
                    metadata.key_groups = filled;
                    for (group, kinds) in value.items().unwrap_or_default().iter().enumerate() {
                        for (kind, list) in kinds.entries().unwrap_or_default() {
                            let kind = kind.scalar().unwrap_or_default();
                            keys_of(&mut metadata.keys, Some(group), kind, list);
                        }
                    }
                }
                _ if OTHER_KINDS.contains(&name) && filled => {
                    metadata.other_kinds.push(name.to_owned())
                }
                _ => {}
            }
        }
        Ok(metadata)
    }

    fn wrapped(&self, list: &Node<'_>) -> Result<Vec<Wrapped>, FileError> {
        let items = list.items().unwrap_or_default();
        let wrapped = items.iter().map(|item| {
            let field = |name: &str| item.get(name).and_then(Node::scalar).map(str::to_owned);
            match (field("recipient"), field("enc")) {
                (Some(recipient), Some(enc)) => Ok(Wrapped { recipient, enc }),
                _ => Err(FileError::Line {
                    line: position(self.text, item.span.start).line,
                    reason: "a recipient without its wrapped key".into(),
                }),
            }
        });
        wrapped.collect()
    }

    /// Calls `visit` for every value, in the order in which sops computes the MAC.
    pub(crate) fn walk(&self, visit: &mut LeafVisit<'_>) -> Result<(), FileError> {
        for root in &self.roots {
            let Some(entries) = root.entries() else {
                if root.is_null() {
                    continue;
                }
                return Err(FileError::NeedsSops("a document that is not a map".into()));
            };
            let mut path = Vec::new();
            for (key, value) in entries {
                if key.scalar() != Some("sops") {
                    self.walk_entry(key, value, &mut path, visit)?;
                }
            }
        }
        Ok(())
    }

    fn walk_entry<'n>(
        &self,
        key: &'n Node<'a>,
        value: &'n Node<'a>,
        path: &mut Vec<&'n str>,
        visit: &mut LeafVisit<'_>,
    ) -> Result<(), FileError> {
        let at = || position(self.text, key.span.start);
        match key.scalar() {
            Some("<<") => return Err(FileError::NeedsSops(format!("a merge key at {}", at()))),
            Some(name) if self.is_text(key) => path.push(name),
            _ => return Err(FileError::NeedsSops(format!("a key that is not text at {}", at()))),
        }
        self.walk_value(value, path, visit)?;
        path.pop();
        Ok(())
    }

    fn walk_value<'n>(
        &self,
        node: &'n Node<'a>,
        path: &mut Vec<&'n str>,
        visit: &mut LeafVisit<'_>,
    ) -> Result<(), FileError> {
        let needs = |what: &str| {
            Err(FileError::NeedsSops(format!("{what} at {}", position(self.text, node.span.start))))
        };
        if node.tagged {
            return needs("a tag");
        }
        match &node.kind {
            Kind::Alias(_) => needs("an alias"),
            Kind::Sequence { items, .. } => {
                items.iter().try_for_each(|item| self.walk_value(item, path, visit))
            }
            Kind::Mapping { entries, .. } => {
                entries.iter().try_for_each(|(key, value)| self.walk_entry(key, value, path, visit))
            }
            Kind::Scalar { value, .. } if self.is_text(node) => visit(path, Value::Text(value)),
            Kind::Scalar { value, .. } => match self.typed(value) {
                Some(Typed::Null) => visit(path, Value::Null),
                Some(Typed::Written(text)) => visit(path, Value::Typed(&text)),
                None => needs("a value of an unusual type"),
            },
        }
    }

    /// Says whether sops reads a scalar as a string.
    fn is_text(&self, node: &Node<'_>) -> bool {
        let Kind::Scalar { value, style } = &node.kind else { return false };
        if *style != ScalarStyle::Plain {
            return true;
        }
        self.format == Format::Yaml && yaml_text(value)
    }

    /// Parses a scalar of another type, as sops hashes it; `None` where that is uncertain.
    fn typed<'v>(&self, value: &'v str) -> Option<Typed<'v>> {
        match value {
            "" | "~" | "null" | "Null" | "NULL" => return Some(Typed::Null),
            "true" | "True" | "TRUE" => return Some(Typed::Written(Cow::Borrowed("True"))),
            "false" | "False" | "FALSE" => return Some(Typed::Written(Cow::Borrowed("False"))),
            _ => {}
        }
        if self.format == Format::Yaml {
            // sops writes integers in decimal; other notations were written by hand.
            let digits = value.strip_prefix('-').unwrap_or(value);
            let plain = digits.len() < 18
                && digits.bytes().all(|b| b.is_ascii_digit())
                && (digits == "0" || !digits.starts_with('0'));
            return plain.then_some(Typed::Written(Cow::Borrowed(value)));
        }
        let number: f64 = value.parse().ok()?;
        Some(Typed::Written(Cow::Owned(format!("{number}"))))
    }

    /// Replaces the list of age recipients in every document.
    pub(crate) fn replace_recipients(
        &self,
        wrapped: &[Wrapped],
    ) -> Result<Vec<(Range<usize>, String)>, FileError> {
        let mut replacements = Vec::new();
        for root in &self.roots {
            let Some(section) = root.get("sops") else { continue };
            let Some((key, list)) = section.entry("age") else {
                return Err(FileError::NeedsSops("it has no age recipients yet".into()));
            };
            let layout = Layout { text: self.text };
            replacements.push(if list.style() == Some(YamlStyle::Block) {
                layout.block(list, wrapped)
            } else if section.style() == Some(YamlStyle::Block)
                && list.items().is_none_or(<[_]>::is_empty)
            {
                layout.block_from(key, list, wrapped)
            } else {
                (list.span.clone(), layout.flow(key, list, wrapped))
            });
        }
        Ok(replacements)
    }
}

/// Collects the fields of a list of keys of one kind.
fn keys_of(keys: &mut Fields, group: Option<usize>, kind: &str, list: &Node<'_>) {
    for (at, item) in list.items().unwrap_or_default().iter().enumerate() {
        for (field, value) in item.entries().unwrap_or_default() {
            if let (Some(field), Some(value)) = (field.scalar(), value.scalar()) {
                keys.set(group, kind, at, field, value);
            }
        }
    }
}

enum Typed<'v> {
    Null,
    Written(Cow<'v, str>),
}

/// Says whether a plain YAML scalar is certainly a string; go-yaml resolves others to other
/// types.
fn yaml_text(value: &str) -> bool {
    let Some(first) = value.chars().next() else { return false };
    if matches!(
        value,
        "~" | "null"
            | "Null"
            | "NULL"
            | "true"
            | "True"
            | "TRUE"
            | "false"
            | "False"
            | "FALSE"
            | "<<"
    ) {
        return false;
    }
    let numeric = first.is_ascii_digit() || matches!(first, '+' | '-' | '.');
    !numeric
        || (first == '-'
            && value.chars().nth(1).is_some_and(char::is_alphabetic)
            && !value.to_ascii_lowercase().contains(".inf"))
}

/// The layout of the recipients' section.
struct Layout<'a> {
    text: &'a str,
}

impl Layout<'_> {
    fn line_start(&self, offset: usize) -> usize {
        self.text[..offset].rfind('\n').map_or(0, |i| i + 1)
    }

    fn column(&self, offset: usize) -> usize {
        offset - self.line_start(offset)
    }

    fn newline(&self) -> &'static str {
        crate::sops::rules::patch::newline(self.text)
    }

    /// Formats a block list, with the columns and the order of fields of the old one.
    fn block(&self, list: &Node<'_>, wrapped: &[Wrapped]) -> (Range<usize>, String) {
        let items = list.items().unwrap_or_default();
        let first = items.first().map_or(list.span.start, Node::start);
        let line = self.line_start(first);
        let dash = self.text[line..first].rfind('-').unwrap_or(0);
        let enc_first = items
            .first()
            .and_then(Node::entries)
            .and_then(<[_]>::first)
            .is_some_and(|(key, _)| key.scalar() == Some("enc"));
        let fields = self.column(first);
        let content = items
            .first()
            .and_then(|item| item.get("enc"))
            .and_then(|enc| self.content_column(enc))
            .filter(|&column| column > fields);
        let end = self.text[..list.span.end].trim_end().len();
        let text = self.lines(dash, fields, content.unwrap_or(fields + 2), enc_first, wrapped);
        (line..end, text)
    }

    /// Formats a block list in place of `age: []`.
    fn block_from(
        &self,
        key: &Node<'_>,
        list: &Node<'_>,
        wrapped: &[Wrapped],
    ) -> (Range<usize>, String) {
        let dash = self.column(key.span.start) + 4;
        let text = self.lines(dash, dash + 2, dash + 4, false, wrapped);
        let start = self.text[..list.span.start].trim_end_matches(' ').len();
        (start..list.span.end, format!("{}{text}", self.newline()))
    }

    /// Returns the column of the lines of a literal block.
    fn content_column(&self, enc: &Node<'_>) -> Option<usize> {
        let at = self.text[enc.span.clone()].find("-----BEGIN")?;
        let line = self.line_start(enc.span.start + at);
        self.text[line..enc.span.start + at]
            .trim()
            .is_empty()
            .then(|| self.column(enc.span.start + at))
    }

    fn lines(
        &self,
        dash: usize,
        fields: usize,
        content: usize,
        enc_first: bool,
        wrapped: &[Wrapped],
    ) -> String {
        let newline = self.newline();
        let pad = |column: usize| " ".repeat(column);
        let items = wrapped.iter().map(|wrapped| {
            let recipient = format!("recipient: {}", wrapped.recipient);
            let armor: String = wrapped
                .enc
                .lines()
                .map(|line| format!("{newline}{}{line}", pad(content)))
                .collect();
            let enc = format!("enc: |{armor}");
            let (one, two) = if enc_first { (enc, recipient) } else { (recipient, enc) };
            let gap = pad(fields.saturating_sub(dash + 1).max(1));
            format!("{}-{gap}{one}{newline}{}{two}", pad(dash), pad(fields))
        });
        items.collect::<Vec<_>>().join(newline)
    }

    /// Formats a JSON array, in one line or indented like the old one.
    fn flow(&self, key: &Node<'_>, list: &Node<'_>, wrapped: &[Wrapped]) -> String {
        let fields = |wrapped: &Wrapped| {
            let recipient = format!("\"recipient\": {}", json::quoted(&wrapped.recipient));
            (recipient, format!("\"enc\": {}", json::quoted(&wrapped.enc)))
        };
        let line = self.line_start(key.span.start);
        let base = &self.text[line..key.span.start];
        let one_line = list.items().is_some_and(|items| !items.is_empty())
            && !self.text[list.span.clone()].contains('\n');
        if one_line || !base.trim().is_empty() || wrapped.is_empty() {
            let items = wrapped.iter().map(|wrapped| {
                let (recipient, enc) = fields(wrapped);
                format!("{{{recipient}, {enc}}}")
            });
            return format!("[{}]", items.collect::<Vec<_>>().join(", "));
        }
        let newline = self.newline();
        let step = self.step(list, base);
        let items = wrapped.iter().map(|wrapped| {
            let (recipient, enc) = fields(wrapped);
            format!("{newline}{base}{step}{{{newline}{base}{step}{step}{recipient},{newline}{base}{step}{step}{enc}{newline}{base}{step}}}")
        });
        format!("[{}{newline}{base}]", items.collect::<Vec<_>>().join(","))
    }

    /// Returns one level of indentation.
    fn step(&self, list: &Node<'_>, base: &str) -> String {
        let first = list.items().and_then(<[_]>::first);
        let indent =
            first.map(|item| &self.text[self.line_start(item.span.start)..item.span.start]);
        let step = indent
            .and_then(|indent| indent.strip_prefix(base))
            .filter(|step| !step.is_empty() && step.trim().is_empty());
        match step {
            Some(step) => step.to_owned(),
            None if base.starts_with('\t') => "\t".to_owned(),
            None => base[..base.len() / 2].to_owned(),
        }
    }
}
