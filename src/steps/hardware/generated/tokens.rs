//! The tokens of the part of Nix that nixos-generate-config prints. Whatever has no place
//! there (escapes, interpolation, paths, URLs, operators) is a token of its own kind,
//! which nothing accepts.

use super::values::is_hidden;

/// A token, without its place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind<'a> {
    Word(&'a str),
    /// A string in one line without escapes and interpolation, so what stands there is
    /// what it means.
    Text(&'a str),
    Mark(char),
    Ellipsis,
    /// Nothing that the program prints.
    Foreign(&'static str),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'a> {
    pub(crate) kind: TokenKind<'a>,
    /// Counted from 1.
    pub(crate) line: usize,
}

/// Splits a text into its tokens; white space and comments are left out.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            ' ' | '\t' | '\n' => 1,
            '#' => rest.find('\n').unwrap_or(rest.len()),
            _ => {
                let (kind, length) = token(rest, first);
                tokens.push(Token { kind, line });
                length
            }
        };
        let (taken, after) = rest.split_at(length);
        line += taken.matches('\n').count();
        rest = after;
    }
    tokens
}

/// The token at the beginning of `rest`, and its length in bytes.
fn token(rest: &str, first: char) -> (TokenKind<'_>, usize) {
    match first {
        '"' => string(rest),
        'a'..='z' | 'A'..='Z' | '_' => {
            let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            let length = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
            (TokenKind::Word(&rest[..length]), length)
        }
        '.' if rest.starts_with("...") => (TokenKind::Ellipsis, 3),
        // A colon with something behind it makes a URL of the word before it.
        ':' if !rest[1..].starts_with([' ', '\n']) => (TokenKind::Foreign("a URL"), 1),
        '{' | '}' | '[' | ']' | '(' | ')' | ';' | '=' | ',' | '.' | '+' | ':' => {
            (TokenKind::Mark(first), 1)
        }
        _ => (TokenKind::Foreign("a character that has no place there"), first.len_utf8()),
    }
}

fn string(rest: &str) -> (TokenKind<'_>, usize) {
    let inside = &rest[1..];
    let length = inside.find(['"', '\n']).unwrap_or(inside.len());
    let text = &inside[..length];
    if !inside[length..].starts_with('"') {
        return (TokenKind::Foreign("a string that does not end in its line"), 1 + length);
    }
    let kind = if text.contains(['\\', '$']) {
        TokenKind::Foreign("an escape or an interpolation in a string")
    } else if text.chars().any(is_hidden) {
        TokenKind::Foreign("a character that cannot be seen")
    } else {
        TokenKind::Text(text)
    };
    (kind, length + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind<'_>> {
        tokens(text).into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn what_is_printed_is_split_into_its_tokens() {
        use TokenKind::{Ellipsis, Mark, Text, Word};
        let words = kinds("{ lib, ... }: # all\n{ a.b-c = [ \"x y\" ]; }");
        let header = [Mark('{'), Word("lib"), Mark(','), Ellipsis, Mark('}'), Mark(':')];
        let body = [Mark('{'), Word("a"), Mark('.'), Word("b-c"), Mark('='), Mark('[')];
        let end = [Text("x y"), Mark(']'), Mark(';'), Mark('}')];
        assert_eq!(words, [&header[..], &body, &end].concat());
    }

    #[test]
    fn lines_are_counted_through_comments() {
        let lines: Vec<usize> = tokens("a\n# b\n\n\"c\"").iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 4]);
    }

    #[test]
    fn all_else_is_foreign() {
        for text in [
            "\"a\\n\"",
            "\"${a}\"",
            "\"$$\"",
            "\"a",
            "\"a\nb\"",
            "''",
            "./a",
            "<a>",
            "1",
            "a:b ",
            "a?b",
            "a@b",
            "/*",
            "a//b",
            "!a",
            "a\r",
            "\0",
            "é",
            "\u{a0}",
            "\"\u{202e}\"",
            "''a''",
        ] {
            let foreign = kinds(text).iter().any(|kind| matches!(kind, TokenKind::Foreign(_)));
            assert!(foreign, "{text:?}: {:?}", kinds(text));
        }
    }
}
