//! Parses JSON into the same tree as YAML, with the byte range of every node.
//!
//! Accepts strict JSON (RFC 8259) and keeps the order of the text, because sops computes the MAC
//! in that order.

use std::borrow::Cow;

use granit_parser::ScalarStyle;

use crate::sops::rules::yaml::{Kind, Node, YamlError, YamlStyle, position};

const MAX_DEPTH: usize = 200;

/// Parses one JSON value, followed by nothing but white space.
pub fn parse(text: &str) -> Result<Node<'_>, YamlError> {
    let mut parser = Parser { text, at: 0 };
    parser.skip_space();
    let node = parser.value(0)?;
    parser.skip_space();
    if parser.at < text.len() {
        return Err(parser.error("there is more after the end of the value"));
    }
    Ok(node)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, reason: &str) -> YamlError {
        YamlError { at: position(self.text, self.at), reason: format!("JSON: {reason}") }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), YamlError> {
        if self.peek() != Some(byte) {
            return Err(self.error(&format!("{:?} was expected", char::from(byte))));
        }
        self.at += 1;
        Ok(())
    }

    fn node(&self, kind: Kind<'a>, start: usize) -> Node<'a> {
        Node { kind, span: start..self.at, anchor: None, tagged: false }
    }

    fn value(&mut self, depth: usize) -> Result<Node<'a>, YamlError> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string(),
            _ => self.word(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node<'a>, YamlError> {
        let start = self.at;
        self.expect(b'{')?;
        let mut entries = Vec::new();
        self.skip_space();
        while self.peek() != Some(b'}') {
            if !entries.is_empty() {
                self.expect(b',')?;
                self.skip_space();
            }
            let key = self.string()?;
            self.skip_space();
            self.expect(b':')?;
            self.skip_space();
            entries.push((key, self.value(depth + 1)?));
            self.skip_space();
        }
        self.at += 1;
        Ok(self.node(Kind::Mapping { style: YamlStyle::Flow, entries }, start))
    }

    fn array(&mut self, depth: usize) -> Result<Node<'a>, YamlError> {
        let start = self.at;
        self.expect(b'[')?;
        let mut items = Vec::new();
        self.skip_space();
        while self.peek() != Some(b']') {
            if !items.is_empty() {
                self.expect(b',')?;
                self.skip_space();
            }
            items.push(self.value(depth + 1)?);
            self.skip_space();
        }
        self.at += 1;
        Ok(self.node(Kind::Sequence { style: YamlStyle::Flow, items }, start))
    }

    fn string(&mut self) -> Result<Node<'a>, YamlError> {
        let start = self.at;
        self.expect(b'"')?;
        // Control characters, line breaks among them, must be escaped.
        let special = |b: &u8| matches!(b, b'"' | b'\\' | 0..0x20);
        let length = self.text.as_bytes()[self.at..].iter().position(special);
        let plain_end = length.map(|length| self.at + length);
        let value = match plain_end {
            Some(end) if self.text.as_bytes()[end] == b'"' => {
                let value = Cow::Borrowed(&self.text[self.at..end]);
                self.at = end + 1;
                value
            }
            _ => Cow::Owned(self.escaped()?),
        };
        Ok(self.node(Kind::Scalar { value, style: ScalarStyle::DoubleQuoted }, start))
    }

    fn escaped(&mut self) -> Result<String, YamlError> {
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(stop) = rest.find(|c| matches!(c, '"' | '\\' | '\0'..'\x20')) else {
                return Err(self.error("a string does not end"));
            };
            out.push_str(&rest[..stop]);
            self.at += stop;
            if rest.as_bytes()[stop] < 0x20 {
                return Err(self.error("a control character in a string"));
            }
            self.at += 1;
            if rest.as_bytes()[stop] == b'"' {
                return Ok(out);
            }
            let escape = self.peek().ok_or_else(|| self.error("a string does not end"))?;
            self.at += 1;
            match escape {
                b'"' | b'\\' | b'/' => out.push(char::from(escape)),
                b'b' => out.push('\u{8}'),
                b'f' => out.push('\u{c}'),
                b'n' => out.push('\n'),
                b'r' => out.push('\r'),
                b't' => out.push('\t'),
                b'u' => out.push(self.unicode()?),
                _ => return Err(self.error("an unknown escape")),
            }
        }
    }

    /// Parses a `\u` escape. Like Go, reads an unpaired surrogate as U+FFFD.
    fn unicode(&mut self) -> Result<char, YamlError> {
        let first = self.hex()?;
        if (0xD800..0xDC00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            let back = self.at;
            self.at += 2;
            let second = self.hex()?;
            if (0xDC00..0xE000).contains(&second) {
                let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Result<u32, YamlError> {
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let code = code.ok_or_else(|| self.error("four hexadecimal digits were expected"))?;
        self.at += 4;
        Ok(code)
    }

    /// Parses a number, true, false or null.
    fn word(&mut self) -> Result<Node<'a>, YamlError> {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        {
            self.at += 1;
        }
        let word = &self.text[start..self.at];
        if !is_number(word) && !matches!(word, "true" | "false" | "null") {
            self.at = start;
            return Err(self.error("a value was expected"));
        }
        Ok(self.node(Kind::Scalar { value: Cow::Borrowed(word), style: ScalarStyle::Plain }, start))
    }
}

/// Says whether a word is a JSON number; Rust's parser would also accept `1.`, `01` and `-inf`.
fn is_number(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let word = word.strip_prefix('-').unwrap_or(word);
    let (mantissa, exponent) = match word.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
        }
        None => (word, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits)
}

/// Quotes a string as JSON.
pub(crate) fn quoted(text: &str) -> String {
    // Not through a Value, which would leave a copy of what may be a secret in memory.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_their_bytes() {
        let text = "{\"a\\u0041\": [1, -2.5e3, true, null, \"x\\n\\ud83d\\ude00\"], \"b\": {}}\n";
        let root = parse(text).unwrap();
        let list = root.get("aA").unwrap();
        assert_eq!(&text[list.span.clone()], "[1, -2.5e3, true, null, \"x\\n\\ud83d\\ude00\"]");
        assert_eq!(list.items().unwrap()[4].scalar(), Some("x\n😀"));
        assert_eq!(root.get("b").unwrap().entries().unwrap().len(), 0);
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for text in [
            "",
            "{",
            "{\"a\" 1}",
            "[1,]",
            "{\"a\":1} x",
            "\"\\x\"",
            "nul",
            "[1 2]",
            "01",
            "1.",
            "-inf",
            "-",
            "1e",
            "\"a\tb\"",
            "\"\\n\0\"",
        ] {
            assert!(parse(text).unwrap_err().to_string().contains("line 1"), "{text}");
        }
        assert!(parse(&"[".repeat(5000)).is_err());
    }
}
