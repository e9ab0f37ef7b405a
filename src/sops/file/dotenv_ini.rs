//! dotenv and INI files: one value a line, with the `sops` section flattened into keys.

use std::borrow::Cow;
use std::ops::Range;

use super::format::Format;
use super::metadata::{Metadata, OTHER_KINDS, Wrapped};
use super::{FileError, LeafVisit, Value};
use crate::sops::access::Fields;

/// A line with a value.
#[derive(Debug)]
struct Line<'a> {
    /// The bytes without the line break.
    span: Range<usize>,
    section: &'a str,
    key: &'a str,
    value: &'a str,
}

#[derive(Debug)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    format: Format,
    values: Vec<Line<'a>>,
    metadata: Vec<Line<'a>>,
}

const AGE_PREFIX: &str = "age__list_";
const DOTENV_PREFIX: &str = "sops_";

impl<'a> Lines<'a> {
    pub(crate) fn parse(text: &'a str, format: Format) -> Result<Self, FileError> {
        let mut lines = Self { text, format, values: Vec::new(), metadata: Vec::new() };
        match format {
            Format::Ini => lines.parse_ini()?,
            _ => lines.parse_dotenv()?,
        }
        if lines.metadata.is_empty() {
            return Err(FileError::NotEncrypted);
        }
        Ok(lines)
    }

    fn parse_dotenv(&mut self) -> Result<(), FileError> {
        for (number, span) in line_spans(self.text, false).enumerate() {
            let line = &self.text[span.clone()];
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                return Err(FileError::Line {
                    line: number + 1,
                    reason: "not of the form KEY=VALUE".into(),
                });
            };
            match key.strip_prefix(DOTENV_PREFIX) {
                Some(key) => self.metadata.push(Line { span, section: "", key, value }),
                None => self.values.push(Line { span, section: "", key, value }),
            }
        }
        Ok(())
    }

    /// Parses the subset of INI that sops writes; the rest of go-ini's syntax is left to sops.
    fn parse_ini(&mut self) -> Result<(), FileError> {
        let mut section = "DEFAULT";
        let mut seen = vec!["DEFAULT"];
        for (number, span) in line_spans(self.text, true).enumerate() {
            let line = self.text[span.clone()].trim_start_matches('\u{feff}').trim();
            let needs =
                |what: &str| Err(FileError::NeedsSops(format!("{what} in line {}", number + 1)));
            if line.is_empty() || line.starts_with([';', '#']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[') {
                let Some(name) = name.strip_suffix(']') else { return needs("an unusual section") };
                if seen.contains(&name) && name != "DEFAULT" {
                    return needs("a section that appears twice");
                }
                section = name;
                seen.push(name);
                continue;
            }
            let Some(delimiter) = line.find(['=', ':']) else {
                return Err(FileError::Line {
                    line: number + 1,
                    reason: "not of the form KEY = VALUE".into(),
                });
            };
            let (key, value) = (line[..delimiter].trim_end(), line[delimiter + 1..].trim_start());
            if key.is_empty() || key == "-" || key.starts_with(['"', '`']) {
                return needs("an unusual key");
            }
            let line = Line { span, section, key, value };
            if section == "sops" {
                self.metadata.push(line);
            } else {
                if self
                    .values
                    .iter()
                    .rev()
                    .take_while(|known| known.section == section)
                    .any(|known| known.key == key)
                {
                    return needs("a key that appears twice");
                }
                let enc = value.starts_with("ENC[");
                if !enc
                    && (value.starts_with(['"', '`', '\''])
                        || value.ends_with('\\')
                        || value.contains(" ;")
                        || value.contains(" #"))
                {
                    return needs("a quoted or continued value");
                }
                self.values.push(line);
            }
        }
        Ok(())
    }

    pub(crate) fn metadata(&self) -> Result<Metadata, FileError> {
        let mut metadata = Metadata::default();
        let mut age: Vec<(usize, Wrapped)> = Vec::new();
        for line in &self.metadata {
            keys_of(&mut metadata.keys, line.key, line.value);
            if let Some(entry) = line.key.strip_prefix(AGE_PREFIX) {
                let (index, field) = entry.split_once("__map_").unwrap_or_default();
                let Ok(index) = index.parse() else { continue };
                if !age.iter().any(|(known, _)| *known == index) {
                    age.push((index, Wrapped { recipient: String::new(), enc: String::new() }));
                }
                let Some((_, wrapped)) = age.iter_mut().find(|(known, _)| *known == index) else {
                    continue;
                };
                match field {
                    "recipient" => wrapped.recipient = line.value.to_owned(),
                    "enc" => wrapped.enc = line.value.replace("\\n", "\n"),
                    _ => {}
                }
            } else if line.key.starts_with("key_groups__list_") {
                metadata.key_groups = true;
            } else if let Some(kind) =
                OTHER_KINDS.iter().find(|kind| line.key.starts_with(&format!("{kind}__list_")))
            {
                if !metadata.other_kinds.iter().any(|known| known == kind) {
                    metadata.other_kinds.push((*kind).to_owned());
                }
            } else {
                let set = metadata.set(line.key, line.value);
                set.map_err(|reason| FileError::NeedsSops(format!("{}: {reason}", line.key)))?;
            }
        }
        age.sort_by_key(|(index, _)| *index);
        metadata.age = age.into_iter().map(|(_, wrapped)| wrapped).collect();
        Ok(metadata)
    }

    /// Calls `visit` for every value, in order.
    pub(crate) fn walk(&self, visit: &mut LeafVisit<'_>) -> Result<(), FileError> {
        for line in &self.values {
            match self.format {
                Format::Ini => visit(&[line.section, line.key], Value::Text(line.value))?,
                _ => {
                    let value = if line.value.contains("\\n") {
                        Cow::Owned(line.value.replace("\\n", "\n"))
                    } else {
                        Cow::Borrowed(line.value)
                    };
                    visit(&[line.key], Value::Text(&value))?;
                }
            }
        }
        Ok(())
    }

    /// Writes the recipients' lines in place of the old ones.
    pub(crate) fn replace_recipients(
        &self,
        wrapped: &[Wrapped],
    ) -> Result<Vec<(Range<usize>, String)>, FileError> {
        let old: Vec<_> =
            self.metadata.iter().filter(|line| line.key.starts_with(AGE_PREFIX)).collect();
        let Some(first) = old.first() else {
            return Err(FileError::NeedsSops("it has no age recipients yet".into()));
        };
        let newline = crate::sops::rules::patch::newline(self.text);
        let mut fields: Vec<(String, String)> = Vec::new();
        for (index, wrapped) in wrapped.iter().enumerate() {
            fields
                .push((format!("{AGE_PREFIX}{index}__map_enc"), wrapped.enc.replace('\n', "\\n")));
            fields.push((format!("{AGE_PREFIX}{index}__map_recipient"), wrapped.recipient.clone()));
        }
        fields.sort();
        let lines: Vec<String> =
            fields.iter().map(|(key, value)| self.write(first, key, value)).collect();
        let mut replacements = vec![(first.span.clone(), lines.join(newline))];
        for line in &old[1..] {
            let end = self.text[line.span.end..]
                .find('\n')
                .map_or(self.text.len(), |i| line.span.end + i + 1);
            replacements.push((line.span.start..end, String::new()));
        }
        Ok(replacements)
    }

    /// Formats a line with the prefix and the alignment of `pattern`.
    fn write(&self, pattern: &Line<'_>, key: &str, value: &str) -> String {
        if self.format == Format::Dotenv {
            return format!("{DOTENV_PREFIX}{key}={value}");
        }
        let line = &self.text[pattern.span.clone()];
        let column = line.find('=').unwrap_or(pattern.key.len() + 1);
        format!("{key:<width$}= {value}", width = column.max(key.len() + 1))
    }
}

/// Collects a field of a key by its flattened name: `pgp__list_0__map_fp`,
/// `key_groups__list_1__map_age__list_0__map_recipient`.
fn keys_of(keys: &mut Fields, name: &str, value: &str) {
    let listed = |name: &str| -> Option<(String, usize, String)> {
        let (list, rest) = name.split_once("__list_")?;
        let (at, field) = rest.split_once("__map_")?;
        Some((list.to_owned(), at.parse().ok()?, field.to_owned()))
    };
    match listed(name) {
        Some((list, group, rest)) if list == "key_groups" => {
            if let Some((kind, at, field)) = listed(&rest) {
                keys.set(Some(group), &kind, at, &field, value);
            }
        }
        Some((kind, at, field)) => keys.set(None, &kind, at, &field, value),
        None => {}
    }
}

/// Returns the spans of all lines; with `crlf`, `\r` belongs to the line break.
fn line_spans(text: &str, crlf: bool) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    text.split('\n').map(move |line| {
        let span = start..start + line.len();
        start += line.len() + 1;
        if crlf && line.ends_with('\r') { span.start..span.end - 1 } else { span }
    })
}
