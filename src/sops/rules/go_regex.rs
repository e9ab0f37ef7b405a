//! Compiles `path_regex` as sops does: Go's RE2 syntax, matched anywhere in the path.
//!
//! Rust's `regex` descends from RE2 too, so that only a few constructs are translated: ASCII-only
//! classes, `\Q..\E`, escaped punctuation, and the set operations in brackets that Rust has and
//! Go does not. A pattern that does not compile afterwards is refused.

use regex::Regex;

/// Compiles a Go regular expression; the error is one line.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(&translate(pattern))
        .octal(true)
        .build()
        .map_err(|error| last_line(&error.to_string()))
}

/// Returns the last line of a message of the regex crate, which has the reason; those before show
/// the pattern.
fn last_line(text: &str) -> String {
    let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or(text);
    line.trim().trim_start_matches("error: ").to_owned()
}

fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("\\Q") {
            let (literal, tail) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(literal));
            rest = tail;
            continue;
        }
        let mut taken = c.len_utf8();
        match c {
            '\\' => {
                let escaped = rest[1..].chars().next();
                taken += escaped.map_or(0, char::len_utf8);
                push_escape(&mut out, escaped, in_class);
            }
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                if let Some(negated) = rest[1..].strip_prefix('^') {
                    out.push('^');
                    taken += 1;
                    taken += leading_bracket(&mut out, negated);
                } else {
                    taken += leading_bracket(&mut out, &rest[1..]);
                }
            }
            '[' if rest.starts_with("[:") => match rest.find(":]") {
                Some(end) => {
                    out.push_str(&rest[..end + 2]);
                    taken = end + 2;
                }
                None => out.push_str("\\["),
            },
            '[' => out.push_str("\\["),
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '-' if in_class && rest.starts_with("--") => out.push_str("\\-"),
            c => out.push(c),
        }
        rest = &rest[taken..];
    }
    out
}

/// Copies a `]` right after the opening of a class, where it is literal; returns its length.
fn leading_bracket(out: &mut String, rest: &str) -> usize {
    if rest.starts_with(']') {
        out.push_str("\\]");
        return 1;
    }
    0
}

fn push_escape(out: &mut String, escaped: Option<char>, in_class: bool) {
    let class = |set: &str, negated: bool| match (in_class, negated) {
        (true, false) => set.to_owned(),
        (true, true) => format!("[^{set}]"),
        (false, false) => format!("[{set}]"),
        (false, true) => format!("[^{set}]"),
    };
    match escaped {
        Some('d') => out.push_str(&class("0-9", false)),
        Some('D') => out.push_str(&class("0-9", true)),
        Some('w') => out.push_str(&class("0-9A-Za-z_", false)),
        Some('W') => out.push_str(&class("0-9A-Za-z_", true)),
        Some('s') => out.push_str(&class(r"\t\n\f\r ", false)),
        Some('S') => out.push_str(&class(r"\t\n\f\r ", true)),
        Some('b') => out.push_str(r"(?-u:\b)"),
        Some('B') => out.push_str(r"(?-u:\B)"),
        Some(c) if c.is_ascii_punctuation() => match c {
            '<' | '>' | '_' | '%' | '"' | '\'' | '!' | ',' | ':' | ';' | '=' | '@' | '`' | '/' => {
                out.push(c)
            }
            c => {
                out.push('\\');
                out.push(c);
            }
        },
        Some(c) => {
            out.push('\\');
            out.push(c);
        }
        None => out.push('\\'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_what_go_matches() {
        for (pattern, path, matches) in [
            (r"secrets/[^/]+\.(yaml|json|env|ini)$", "secrets/a.yaml", true),
            (r"secrets/[^/]+\.(yaml|json|env|ini)$", "secrets/x/a.yaml", false),
            (r"secrets\/.+\.yaml$", "deep/secrets/a.yaml", true),
            (r"^[^.].*\.sops\.ya?ml$", "a.sops.yml", true),
            (r"host\d", "host٣", false),
            (r"^\w+$", "é", false),
            (r"[\d]x", "3x", true),
            (r"\Qa.b\E$", "a.b", true),
            (r"\Qa.b\E$", "axb", false),
            (r"[[]x", "[x", true),
            (r"[]]x", "]x", true),
            (r"[^]]x", "]x", false),
            (r"[a&&b]x", "&x", true),
            (r"\_\<\-", "_<-", true),
            (r"[[:alpha:]]\.y", "a.y", true),
            (r"\141", "a", true),
            ("", "anything", true),
        ] {
            assert_eq!(compile(pattern).unwrap().is_match(path), matches, "{pattern} {path}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        assert!(compile("(?=lookahead)").is_err());
        assert!(compile("(").unwrap_err().contains("group"));
    }
}
