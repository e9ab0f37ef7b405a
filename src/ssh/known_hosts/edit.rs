//! Edits the text of a known_hosts file.

use crate::ssh::HostKey;

/// The result of an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownHostsEdit {
    pub(crate) bytes: Vec<u8>,
    pub(crate) removed: usize,
    pub(crate) added: bool,
}

/// A name of the machine, and the numbers (from 1) of the lines that contain its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) name: String,
    pub(crate) hashed_in: Vec<usize>,
}

/// Returns `text` with `key` as the only key of each of `names`.
///
/// Lines of other machines, comments, blank lines, markers and line ends stay. A line that the
/// machine shares with others loses only its names.
pub(crate) fn replace_in(text: &[u8], names: &[Name], key: &HostKey) -> KnownHostsEdit {
    let (mut edit, known) = without_others(text, names, key);
    for (Name { name, .. }, _) in names.iter().zip(&known).filter(|(_, known)| !**known) {
        if edit.bytes.last().is_some_and(|byte| *byte != b'\n') {
            edit.bytes.push(b'\n');
        }
        edit.bytes.extend_from_slice(key.known_hosts_line(name).as_bytes());
        edit.bytes.push(b'\n');
        edit.added = true;
    }
    edit
}

/// Returns `text` without the keys of `names` that are not `key`.
pub(crate) fn without_others_in(text: &[u8], names: &[Name], key: &HostKey) -> KnownHostsEdit {
    without_others(text, names, key).0
}

/// Returns the edit, and for each name whether it has the key already.
fn without_others(text: &[u8], names: &[Name], key: &HostKey) -> (KnownHostsEdit, Vec<bool>) {
    let mut known = vec![false; names.len()];
    let mut edit =
        KnownHostsEdit { bytes: Vec::with_capacity(text.len()), removed: 0, added: false };
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let entry = Line::parse(line, index + 1);
        let rest = match &entry {
            Some(entry) if entry.key == *key => {
                entry.note_known(names, &mut known);
                None
            }
            Some(entry) => entry.without(names),
            None => None,
        };
        edit.removed += usize::from(rest.is_some());
        edit.bytes.extend_from_slice(rest.as_deref().unwrap_or(line));
    }
    (edit, known)
}

/// An entry of known_hosts without a marker. Its comment may be any bytes, and OpenSSH skips
/// blanks at the beginning of a line.
struct Line<'a> {
    number: usize,
    blanks: &'a [u8],
    hosts: &'a str,
    /// The bytes after the hosts field, with the blanks before them and the line end.
    rest: &'a [u8],
    key: HostKey,
}

impl<'a> Line<'a> {
    /// Parses a line; `None` for comments, blank lines, lines with a marker and invalid ones.
    fn parse(line: &'a [u8], number: usize) -> Option<Self> {
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let (blanks, entry) = line.split_at(line.iter().position(|byte| !is_blank(byte))?);
        if entry.starts_with(b"@") || entry.starts_with(b"#") {
            return None;
        }
        let (hosts, rest) = entry.split_at(entry.iter().position(is_blank)?);
        let mut words = rest
            .split(|byte| byte.is_ascii_whitespace())
            .filter(|word| !word.is_empty())
            .map(|word| std::str::from_utf8(word).ok());
        let key = HostKey::new(words.next()??, words.next()??).ok()?;
        Some(Self { number, blanks, hosts: std::str::from_utf8(hosts).ok()?, rest, key })
    }

    /// Says whether the hosts field contains exactly this machine. Patterns with `*`, `?` or `!`
    /// match several machines, and never count.
    fn names(&self, host: &str, name: &Name) -> bool {
        if host.starts_with('|') {
            return name.hashed_in.contains(&self.number);
        }
        host.eq_ignore_ascii_case(&name.name)
    }

    fn note_known(&self, names: &[Name], known: &mut [bool]) {
        for (name, known) in names.iter().zip(known) {
            *known |= self.hosts.split(',').any(|host| self.names(host, name));
        }
    }

    /// Returns the line without `names`, empty when no host is left; `None` when it contains none
    /// of them.
    fn without(&self, names: &[Name]) -> Option<Vec<u8>> {
        let all: Vec<&str> = self.hosts.split(',').collect();
        let ours = |host: &str| names.iter().any(|name| self.names(host, name));
        let left: Vec<&str> = all.iter().copied().filter(|host| !ours(host)).collect();
        if left.len() == all.len() {
            return None;
        }
        if left.is_empty() {
            return Some(Vec::new());
        }
        Some([self.blanks, left.join(",").as_bytes(), self.rest].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    const NEW: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzRdf";

    fn edited(text: &str, names: &[&str]) -> String {
        let names: Vec<Name> = names
            .iter()
            .map(|name| Name { name: (*name).to_owned(), hashed_in: Vec::new() })
            .collect();
        let edit = replace_in(text.as_bytes(), &names, &NEW.parse().unwrap());
        String::from_utf8(edit.bytes).unwrap()
    }

    #[test]
    fn exactly_the_named_host_is_touched() {
        let text = format!(
            "# 10.0.0.1 {OLD}\n10.0.0.10 {OLD}\n10.0.0.1 {OLD} me\n[10.0.0.1]:2222 {OLD}\n\n\
             @revoked 10.0.0.1 {OLD}\n10.0.0.* {OLD}\n!10.0.0.1,x {OLD}\r\n"
        );
        let wanted =
            text.replace(&format!("10.0.0.1 {OLD} me\n"), "") + &format!("10.0.0.1 {NEW}\n");
        assert_eq!(edited(&text, &["10.0.0.1"]), wanted);
    }

    #[test]
    fn a_shared_line_loses_only_the_name() {
        let text = format!("a,Guppy,10.0.0.1\t{OLD} note");
        let wanted = format!("a\t{OLD} note\nguppy {NEW}\n10.0.0.1 {NEW}\n");
        assert_eq!(edited(&text, &["guppy", "10.0.0.1"]), wanted);
    }

    #[test]
    fn nothing_changes_when_it_is_right_already() {
        let text = format!("guppy,10.0.0.1 {NEW} note\nother {OLD}");
        assert_eq!(edited(&text, &["guppy", "10.0.0.1"]), text);
    }

    #[test]
    fn hashed_entries_go_by_the_lines_that_were_found() {
        let text = format!("|1|c2FsdA==|aGFzaA== {OLD}\n|1|c2FsdA==|b3RoZXI= {OLD}\n");
        let names = [Name { name: "h".into(), hashed_in: vec![1] }];
        let edit = replace_in(text.as_bytes(), &names, &NEW.parse().unwrap());
        let wanted = format!("|1|c2FsdA==|b3RoZXI= {OLD}\nh {NEW}\n");
        assert_eq!(String::from_utf8(edit.bytes).unwrap(), wanted);
        assert_eq!((edit.removed, edit.added), (1, true));
    }

    #[test]
    fn an_indented_line_and_one_with_any_comment_are_entries_too() {
        let text =
            [b" \tguppy,a ", OLD.as_bytes(), b" J\xfcrgen\nguppy ", OLD.as_bytes(), b" \xff\n"];
        let names = [Name { name: "guppy".into(), hashed_in: Vec::new() }];
        let edit = replace_in(&text.concat(), &names, &NEW.parse().unwrap());
        let wanted = [b" \ta ", OLD.as_bytes(), b" J\xfcrgen\nguppy ", NEW.as_bytes(), b"\n"];
        assert_eq!(edit.bytes, wanted.concat());
        assert_eq!(edit.removed, 2);
    }

    #[test]
    fn bytes_that_are_no_text_stay() {
        let edit = replace_in(b"\xff\xfe junk\n", &[], &NEW.parse().unwrap());
        assert_eq!(edit.bytes, b"\xff\xfe junk\n");
    }
}
