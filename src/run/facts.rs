//! What steps write down, in forms of their own.
//!
//! An entry of the journal has a flat map of words beside its line for people. A step has
//! a type for what it leaves to later steps, and one for what it is about to do; serde
//! brings them there and back, so that no reader needs to know the names of another step.

use std::collections::BTreeMap;
use std::num::ParseIntError;

use serde::de::DeserializeOwned;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::{Error, Value};

use super::step::StepId;
use crate::error::Advice;

/// A form of facts that one step alone writes.
pub(crate) trait StepFacts: Serialize + DeserializeOwned {
    const STEP: StepId;
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FactsError {
    #[error("what the journal says of the step {step} is not understood: {source}")]
    NotUnderstood { step: StepId, source: Error },
    #[error("what the step {step} leaves has no form for the journal: {source}")]
    NoForm { step: StepId, source: Error },
}

impl Advice for FactsError {
    fn hint(&self) -> String {
        match self {
            Self::NotUnderstood { .. } => {
                "Was it written by another landfall? `landfall abandon HOST` forgets the run; the disks stay as they are.".into()
            }
            Self::NoForm { .. } => "This is a bug.".into(),
        }
    }
}

/// Gives the flat form of `facts`; what is not there has no name in it.
pub(super) fn write<T: StepFacts>(facts: &T) -> Result<BTreeMap<String, String>, FactsError> {
    flat(facts).map_err(|source| FactsError::NoForm { step: T::STEP, source })
}

fn flat(facts: &impl Serialize) -> Result<BTreeMap<String, String>, Error> {
    let Value::Object(fields) = serde_json::to_value(facts)? else {
        return Err(Error::custom("it has no names"));
    };
    let word = |(name, value)| match value {
        Value::Null => None,
        Value::String(text) => Some(Ok((name, text))),
        _ => Some(Err(Error::custom(format!("{name} is no word")))),
    };
    fields.into_iter().filter_map(word).collect()
}

/// Reads facts back. Names that are not known mean nothing; a step that wrote down no fact
/// at all has left nothing.
pub(super) fn read<T: StepFacts>(
    facts: &BTreeMap<String, String>,
) -> Result<Option<T>, FactsError> {
    match serde_json::to_value(facts).and_then(serde_json::from_value) {
        Ok(facts) => Ok(Some(facts)),
        Err(_) if facts.is_empty() => Ok(None),
        Err(source) => Err(FactsError::NotUnderstood { step: T::STEP, source }),
    }
}

/// Words without spaces in them, written with spaces between them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(crate) struct Words(pub(crate) Vec<String>);

impl From<String> for Words {
    fn from(text: String) -> Self {
        Self(text.split_ascii_whitespace().map(str::to_owned).collect())
    }
}

impl From<Words> for String {
    fn from(Words(words): Words) -> Self {
        words.join(" ")
    }
}

/// Texts without line breaks in them, each on a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(crate) struct TextLines(pub(crate) Vec<String>);

impl From<String> for TextLines {
    fn from(text: String) -> Self {
        Self(text.lines().map(str::to_owned).collect())
    }
}

impl From<TextLines> for String {
    fn from(TextLines(lines): TextLines) -> Self {
        lines.join("\n")
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Bytes(pub(crate) u64);

impl TryFrom<String> for Bytes {
    type Error = ParseIntError;

    fn try_from(text: String) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl From<Bytes> for String {
    fn from(Bytes(bytes): Bytes) -> Self {
        bytes.to_string()
    }
}

/// What is said by being there at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Said {
    Yes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    struct Sample {
        size: Bytes,
        #[serde(default)]
        addresses: Words,
        name: Option<String>,
        closed: Option<Said>,
    }

    impl StepFacts for Sample {
        const STEP: StepId = StepId::Copy;
    }

    fn facts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn facts_are_flat_words_and_come_back() {
        let sample = Sample {
            size: Bytes(288 << 20),
            addresses: Words(vec!["192.0.2.1".into(), "fe80::1".into()]),
            name: None,
            closed: Some(Said::Yes),
        };
        let written = write(&sample).unwrap();
        let expected =
            [("addresses", "192.0.2.1 fe80::1"), ("closed", "yes"), ("size", "301989888")];
        assert_eq!(written, facts(&expected));
        assert_eq!(read(&written).unwrap(), Some(sample));
    }

    #[test]
    fn what_is_missing_may_be_and_what_is_wrong_may_not() {
        let least = read::<Sample>(&facts(&[("size", "1"), ("other", "x")])).unwrap().unwrap();
        assert_eq!((least.name, least.closed), (None, None));
        assert_eq!(read::<Sample>(&facts(&[])).unwrap(), None);
        for wrong in [&[("addresses", "x")][..], &[("size", "x")], &[("size", "1"), ("closed", "")]]
        {
            let error = read::<Sample>(&facts(wrong)).unwrap_err();
            assert!(error.to_string().contains("the step copy"), "{error}");
            assert!(error.hint().contains("landfall abandon HOST"));
        }
    }

    #[test]
    fn what_is_no_word_is_not_written() {
        #[derive(Serialize, Deserialize)]
        struct Nested {
            inner: Vec<u8>,
        }
        impl StepFacts for Nested {
            const STEP: StepId = StepId::Copy;
        }
        assert!(matches!(write(&Nested { inner: vec![1] }), Err(FactsError::NoForm { .. })));
    }
}
