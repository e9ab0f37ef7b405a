//! Parses YAML into a tree with the byte range of every node.
//!
//! `.sops.yaml` and encrypted YAML files are edited as bytes, which this tree locates.
//!
//! Invariant: all ranges are byte ranges of the parsed text; nothing here writes YAML.

use std::borrow::Cow;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

/// Deepest nesting, which protects the stack from recursion. Real files nest a dozen levels.
const MAX_DEPTH: usize = 200;

/// A position in a text: line and column in characters, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Returns the position of byte `offset` in `text`.
pub(crate) fn position(text: &str, offset: usize) -> Position {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
    Position {
        line: before.iter().filter(|&&b| b == b'\n').count() + 1,
        column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("not valid YAML at {at}: {reason}")]
pub struct YamlError {
    pub(crate) at: Position,
    pub(crate) reason: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Anchor<'a> {
    /// The name without `&`. YAML 1.2 includes a trailing colon (`- &hosts:`); see
    /// [`anchor_name`].
    pub(crate) name: Cow<'a, str>,
    /// The byte range of `&name`.
    pub(crate) span: Range<usize>,
}

impl Anchor<'_> {
    /// Returns the name as go-yaml reads it, without a trailing colon.
    pub(crate) fn plain_name(&self) -> &str {
        anchor_name(&self.name)
    }
}

/// Removes the colon of a name: go-yaml reads `- &hosts:` as an anchor `hosts` and a colon.
pub(crate) fn anchor_name(name: &str) -> &str {
    name.strip_suffix(':').unwrap_or(name)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum YamlStyle {
    Block,
    Flow,
}

#[derive(Debug)]
pub(crate) enum Kind<'a> {
    Scalar {
        value: Cow<'a, str>,
        style: ScalarStyle,
    },
    Sequence {
        style: YamlStyle,
        items: Vec<Node<'a>>,
    },
    Mapping {
        style: YamlStyle,
        entries: Vec<(Node<'a>, Node<'a>)>,
    },
    /// An alias, as its name without `*`.
    Alias(Cow<'a, str>),
}

#[derive(Debug)]
pub struct Node<'a> {
    pub(crate) kind: Kind<'a>,
    /// From the first to the last byte of the content, without anchor and tag; a block collection
    /// ends with its last child.
    pub span: Range<usize>,
    pub(crate) anchor: Option<Anchor<'a>>,
    pub(crate) tagged: bool,
}

impl<'a> Node<'a> {
    /// Returns the offset of the node, with its anchor.
    pub(crate) fn start(&self) -> usize {
        self.anchor.as_ref().map_or(self.span.start, |a| a.span.start.min(self.span.start))
    }

    pub(crate) fn scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { value, .. } => Some(value),
            _ => None,
        }
    }

    pub(crate) fn alias(&self) -> Option<&str> {
        match &self.kind {
            Kind::Alias(name) => Some(name),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> Option<&[Node<'a>]> {
        match &self.kind {
            Kind::Sequence { items, .. } => Some(items),
            _ => None,
        }
    }

    pub(crate) fn entries(&self) -> Option<&[(Node<'a>, Node<'a>)]> {
        match &self.kind {
            Kind::Mapping { entries, .. } => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn style(&self) -> Option<YamlStyle> {
        match &self.kind {
            Kind::Sequence { style, .. } | Kind::Mapping { style, .. } => Some(*style),
            _ => None,
        }
    }

    /// Returns the entry of a mapping with this key.
    pub(crate) fn entry(&self, key: &str) -> Option<&(Node<'a>, Node<'a>)> {
        self.entries()?.iter().find(|(k, _)| k.scalar() == Some(key))
    }

    /// Returns the value of a mapping's key.
    pub(crate) fn get(&self, key: &str) -> Option<&Node<'a>> {
        self.entry(key).map(|(_, value)| value)
    }

    /// Says whether the value is absent (`key:` with nothing after it) or a written null.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { value, style: ScalarStyle::Plain }
            if matches!(value.as_ref(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Returns the scalar's text; `None` for an absent value, which may have an anchor too.
    pub(crate) fn filled(&self) -> Option<&str> {
        self.scalar().filter(|value| !value.trim().is_empty() && !self.is_null())
    }

    /// Returns the node, among this one and those below, whose anchor begins at byte `offset`.
    pub(crate) fn with_anchor_at(&self, offset: usize) -> Option<&Node<'a>> {
        if self.anchor.as_ref().is_some_and(|anchor| anchor.span.start == offset) {
            return Some(self);
        }
        let inside = |node: &&Node<'a>| (node.start()..=node.span.end).contains(&offset);
        match &self.kind {
            Kind::Sequence { items, .. } => {
                items.iter().filter(inside).find_map(|item| item.with_anchor_at(offset))
            }
            Kind::Mapping { entries, .. } => entries
                .iter()
                .flat_map(|(key, value)| [key, value])
                .filter(inside)
                .find_map(|node| node.with_anchor_at(offset)),
            Kind::Scalar { .. } | Kind::Alias(_) => None,
        }
    }

    /// Calls `visit` for this node and all below it, keys included.
    pub fn walk<'n>(&'n self, visit: &mut impl FnMut(&'n Node<'a>)) {
        visit(self);
        match &self.kind {
            Kind::Sequence { items, .. } => items.iter().for_each(|item| item.walk(visit)),
            Kind::Mapping { entries, .. } => {
                for (key, value) in entries {
                    key.walk(visit);
                    value.walk(visit);
                }
            }
            Kind::Scalar { .. } | Kind::Alias(_) => {}
        }
    }
}

/// The root nodes of a text's documents, and all comments, in order.
#[derive(Debug)]
pub struct YamlStream<'a> {
    pub documents: Vec<Node<'a>>,
    /// Byte ranges of comments, from `#` to the end of the line.
    pub(crate) comments: Vec<Range<usize>>,
}

/// Parses all documents of `text`.
pub fn parse(text: &str) -> Result<YamlStream<'_>, YamlError> {
    let options = granit_parser::options! {
        emit_anchor_events: true,
        max_buffered_comment_events: usize::MAX,
        simple_key_max_lookahead: usize::MAX,
        block_nesting_limit: MAX_DEPTH,
        flow_nesting_limit: MAX_DEPTH,
    };
    let mut builder = Builder {
        text,
        events: Parser::new_from_str_with_options(text, options),
        peeked: None,
        anchors: Vec::new(),
        comments: Vec::new(),
    };
    let mut documents = Vec::new();
    loop {
        match builder.next()? {
            (Event::DocumentStart(..), _) => {
                builder.anchors.clear();
                let first = builder.next()?;
                documents.push(builder.node(first)?);
            }
            (Event::StreamEnd, _) => break,
            _ => {}
        }
    }
    Ok(YamlStream { documents, comments: builder.comments })
}

type Spanned<'a> = (Event<'a>, Range<usize>);

struct Builder<'a, I> {
    text: &'a str,
    events: I,
    peeked: Option<Spanned<'a>>,
    anchors: Vec<(usize, Cow<'a, str>)>,
    comments: Vec<Range<usize>>,
}

impl<'a, I> Builder<'a, I>
where
    I: Iterator<Item = Result<(Event<'a>, Span), granit_parser::ScanError>>,
{
    fn pull(&mut self) -> Result<Spanned<'a>, YamlError> {
        loop {
            let (event, span) = match self.events.next() {
                Some(Ok(pair)) => pair,
                Some(Err(error)) => {
                    let marker = error.marker();
                    return Err(YamlError {
                        at: Position { line: marker.line(), column: marker.col() + 1 },
                        reason: error.info().to_string(),
                    });
                }
                None => return Err(self.error(self.text.len(), "the text ends too early")),
            };
            let range = span.byte_range().unwrap_or(0..0);
            match event {
                Event::Comment(..) => self.comments.push(range),
                event => return Ok((event, range)),
            }
        }
    }

    fn next(&mut self) -> Result<Spanned<'a>, YamlError> {
        match self.peeked.take() {
            Some(event) => Ok(event),
            None => self.pull(),
        }
    }

    fn error(&self, offset: usize, reason: &str) -> YamlError {
        YamlError { at: position(self.text, offset), reason: reason.to_owned() }
    }

    /// Returns the anchor of the node whose event was just read.
    fn anchor(&mut self) -> Result<Option<Anchor<'a>>, YamlError> {
        let next = self.next()?;
        if let (Event::Anchor(id, name), span) = next {
            self.anchors.push((id, name.clone()));
            return Ok(Some(Anchor { name, span }));
        }
        self.peeked = Some(next);
        Ok(None)
    }

    fn node(&mut self, (event, span): Spanned<'a>) -> Result<Node<'a>, YamlError> {
        match event {
            Event::Alias(id) => {
                let name = self.anchors.iter().rev().find(|(known, _)| *known == id);
                let name = name.map(|(_, name)| name.clone());
                let name = name.ok_or_else(|| self.error(span.start, "an alias without anchor"))?;
                Ok(Node { kind: Kind::Alias(name), span, anchor: None, tagged: false })
            }
            Event::Scalar(value, style, _, tag) => {
                let anchor = self.anchor()?;
                let kind = Kind::Scalar { value, style };
                Ok(Node { kind, span, anchor, tagged: tag.is_some() })
            }
            Event::SequenceStart(style, _, tag) => {
                let anchor = self.anchor()?;
                let mut items = Vec::new();
                let close = loop {
                    match self.next()? {
                        (Event::SequenceEnd, close) => break close,
                        first => items.push(self.node(first)?),
                    }
                };
                let style = style_of(style);
                let end = match (style, items.last()) {
                    (YamlStyle::Block, Some(last)) => last.span.end,
                    _ => close.end,
                };
                let kind = Kind::Sequence { style, items };
                Ok(Node { kind, span: span.start..end, anchor, tagged: tag.is_some() })
            }
            Event::MappingStart(style, _, tag) => {
                let anchor = self.anchor()?;
                let mut entries = Vec::new();
                let close = loop {
                    match self.next()? {
                        (Event::MappingEnd, close) => break close,
                        first => {
                            let key = self.node(first)?;
                            let value = self.next()?;
                            let mut value = self.node(value)?;
                            place_absent_value(self.text, &key, &mut value);
                            entries.push((key, value));
                        }
                    }
                };
                let style = style_of(style);
                let end = match (style, entries.last()) {
                    (YamlStyle::Block, Some((key, value))) => value.span.end.max(key.span.end),
                    _ => close.end,
                };
                let kind = Kind::Mapping { style, entries };
                Ok(Node { kind, span: span.start..end, anchor, tagged: tag.is_some() })
            }
            _ => Err(self.error(span.start, "a value was expected")),
        }
    }
}

/// Moves an absent value behind its key's colon; the parser places it at the next token.
fn place_absent_value(text: &str, key: &Node<'_>, value: &mut Node<'_>) {
    if value.span.is_empty() && value.anchor.is_none() {
        let colon = text[key.span.end..].find(':').map_or(key.span.end, |i| key.span.end + i + 1);
        value.span = colon..colon;
    }
}

fn style_of(style: StructureStyle) -> YamlStyle {
    match style {
        StructureStyle::Block => YamlStyle::Block,
        StructureStyle::Flow => YamlStyle::Flow,
    }
}
