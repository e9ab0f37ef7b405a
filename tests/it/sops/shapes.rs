//! `.sops.yaml` in all shapes that people write, mixed at random, each of which goes
//! the whole way of a host as the files of the corpus do; real sops is asked about some.

use crate::common::round_trip::{Sops, outcome};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

const KEYS: [&str; 4] = [
    "age1hjm3aujg9e79f5yth8a2cejzdjg5n9vnu96l05p70uvfpeltnpms7yy3pp",
    "age1xyey63dkk2jh24xk7qvzkgm8nndvq4w4adran0reyyptuwh7kc3qymazzd",
    "age1vucwk6zemzkw4a05zun3rytlsuqyjj47g6c507rsugja0xkdr5wqngvn67",
    "age136ejlyhej53kegge8sh526zwx2n5q30p96vnqtww48ls6amn292qqlgsw2",
];
const PGP: &str = "7088C7421873E0DB97FF17C2245CAB70B4C225E9";
const NAMES: [&str; 4] = ["anna", "pike", "perch_2", "my-box"];

/// How the keys are defined.
#[derive(Debug, Clone, Copy)]
enum Definitions {
    None,
    Flat,
    Prefixed,
    PseudoGroups,
    MapOfLists,
    MapOfMaps,
    SharedLists,
    NestedList,
    InOneLine,
}

/// How a rule names its keys.
#[derive(Debug, Clone, Copy)]
enum Recipients {
    Text,
    Joined,
    Folded,
    List,
    OneLineList,
    Groups,
    GroupsAtDash,
    GroupsInOneLine,
    WithPgp,
    PgpFirst,
    TwoGroups,
    Shared,
}

use Definitions as D;
use Recipients as R;

#[derive(Debug, Clone)]
struct Style {
    definitions: Definitions,
    indent: usize,
    quote: &'static str,
    comments: bool,
    blanks: bool,
    trailing: &'static str,
    document: bool,
    crlf: bool,
    bom: bool,
    final_newline: bool,
}

#[derive(Debug, Clone)]
struct RuleStyle {
    recipients: Recipients,
    regex: &'static str,
    regex_last: bool,
    quote: &'static str,
    comment: bool,
    more: &'static str,
}

fn style() -> impl Strategy<Value = Style> {
    let definitions = select(vec![
        D::None,
        D::Flat,
        D::Prefixed,
        D::PseudoGroups,
        D::MapOfLists,
        D::MapOfMaps,
        D::SharedLists,
        D::NestedList,
        D::InOneLine,
    ]);
    let layout =
        (select(vec![0usize, 2, 4]), select(vec!["", "", "\"", "'"]), select(vec!["", "", " "]));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let ends = (prop::bool::weighted(0.2), prop::bool::weighted(0.1), prop::bool::weighted(0.8));
    (definitions, layout, flags, ends).prop_map(
        |(
            definitions,
            (indent, quote, trailing),
            (comments, blanks, document),
            (crlf, bom, final_newline),
        )| {
            Style {
                definitions,
                indent,
                quote,
                comments,
                blanks,
                trailing,
                document,
                crlf,
                bom,
                final_newline,
            }
        },
    )
}

fn rule() -> impl Strategy<Value = RuleStyle> {
    let recipients = select(vec![
        R::Text,
        R::Joined,
        R::Folded,
        R::List,
        R::OneLineList,
        R::Groups,
        R::Groups,
        R::GroupsAtDash,
        R::GroupsInOneLine,
        R::WithPgp,
        R::PgpFirst,
        R::TwoGroups,
        R::Shared,
    ]);
    let regex = select(vec![
        r"secrets/[^/]+\.(yaml|json|env|ini)$",
        r"hosts/pike/.*",
        r"^home/anna/secrets\.ya?ml$",
        r"shared\/x\.yaml",
        r"\.sops\.yaml$",
        r"^(a|b)/[a-z0-9]+$",
    ]);
    let more =
        select(vec!["", "", "unencrypted_regex: ^(kind|name)$", "encrypted_regex: '^(data|x)$'"]);
    (recipients, regex, any::<bool>(), select(vec!["", "'"]), any::<bool>(), more).prop_map(
        |(recipients, regex, regex_last, quote, comment, more)| RuleStyle {
            recipients,
            regex,
            regex_last,
            quote,
            comment,
            more,
        },
    )
}

impl Style {
    fn anchored(&self, index: usize) -> String {
        let prefix = match (self.definitions, index) {
            (D::Prefixed, 0) => "user_",
            (D::Prefixed, _) => "host_",
            _ => "",
        };
        let comment = if self.comments && index == 1 { " # in the attic" } else { "" };
        format!(
            "&{prefix}{} {q}{}{q}{comment}{}",
            NAMES[index],
            KEYS[index],
            self.trailing,
            q = self.quote
        )
    }

    /// Behind what a list in one line holds no comment fits.
    fn bare(&self, index: usize) -> String {
        format!("&{} {q}{}{q}", NAMES[index], KEYS[index], q = self.quote)
    }

    fn keys(&self) -> String {
        let pad = " ".repeat(self.indent);
        let note =
            |text: &str| if self.comments { format!("{pad}# {text}\n") } else { String::new() };
        let each = |from: usize, pad: &str| -> String {
            (from..4).map(|i| format!("{pad}- {}\n", self.anchored(i))).collect()
        };
        let deeper = format!("{pad}  ");
        match self.definitions {
            D::None => String::new(),
            D::Flat | D::Prefixed => format!(
                "keys:\n{}{pad}- {}\n{}{}",
                note("people"),
                self.anchored(0),
                note("hosts"),
                each(1, &pad)
            ),
            D::PseudoGroups => format!(
                "keys:\n{pad}- &users:\n{deeper}- {}\n{pad}- &hosts: # all of them\n{}",
                self.anchored(0),
                each(1, &deeper)
            ),
            D::MapOfLists => format!(
                "keys:\n{pad}  users:\n{deeper}  - {}\n{pad}  hosts:\n{}",
                self.anchored(0),
                each(1, &format!("{deeper}  "))
            ),
            D::MapOfMaps => {
                let hosts: String =
                    (1..4).map(|i| format!("    {}: {}\n", NAMES[i], self.anchored(i))).collect();
                format!("keys:\n  users:\n    anna: {}\n  hosts:\n{hosts}", self.anchored(0))
            }
            D::SharedLists => format!(
                "users: &users\n{pad}- {}\nhosts: &hosts\n{}all: &all [*anna, *pike]\n",
                self.anchored(0),
                each(1, &pad)
            ),
            D::NestedList => format!(
                "keys:\n{pad}- - {}\n{pad}- - {}\n{}",
                self.anchored(0),
                self.anchored(1),
                (2..4).map(|i| format!("{deeper}- {}\n", self.anchored(i))).collect::<String>()
            ),
            D::InOneLine => format!(
                "keys: [{}, {}]\nmore: {{ perch: {}, box: {} }}\n",
                self.bare(0),
                self.bare(1),
                self.bare(2),
                self.bare(3)
            ),
        }
    }

    /// A key as a rule of this file names it.
    fn named(&self, index: usize) -> String {
        match (self.definitions, index) {
            (D::None, _) => KEYS[index].to_owned(),
            (D::Prefixed, 0) => "*user_anna".to_owned(),
            (D::Prefixed, _) => format!("*host_{}", NAMES[index]),
            _ => format!("*{}", NAMES[index]),
        }
    }

    fn rule(&self, rule: &RuleStyle, number: usize) -> String {
        let (one, two) = (self.named(0), self.named(1 + number % 3));
        let regex = format!("path_regex: {q}{}{q}", rule.regex, q = rule.quote);
        let comment = if rule.comment { " # box" } else { "" };
        let keys = match rule.recipients {
            R::Text => format!("age: {one}"),
            R::Joined => format!("age: {},{}", KEYS[0], KEYS[1]),
            R::Folded => format!("age: >-\n      {},\n      {}", KEYS[0], KEYS[1]),
            R::List => format!("age:\n      - {}\n      - {}{comment}", KEYS[0], KEYS[1]),
            R::OneLineList => format!("key_groups:\n      - age: [{one}, {two}]"),
            R::Groups => {
                format!("key_groups:\n      - age:\n          - {one}\n          - {two}{comment}")
            }
            R::GroupsAtDash => {
                format!("key_groups:\n    - age:\n      - {one}\n      - {two}{comment}")
            }
            R::GroupsInOneLine => format!("key_groups: [{{age: [{one}, {two}]}}]"),
            R::WithPgp => format!(
                "key_groups:\n      - age:\n          - {one}\n        pgp:\n          - {PGP}"
            ),
            R::PgpFirst => format!(
                "key_groups:\n      - pgp:\n          - {PGP} # card\n        age:\n          - {one}"
            ),
            R::TwoGroups => format!(
                "key_groups:\n      - age:\n          - {one}\n      - age:\n          - {two}"
            ),
            R::Shared if matches!(self.definitions, D::SharedLists) => "age: *all".to_owned(),
            R::Shared => format!("pgp: {PGP}\n    age: {one}"),
        };
        let mut parts = vec![keys];
        parts.insert(usize::from(rule.regex_last), regex);
        if !rule.more.is_empty() {
            parts.push(rule.more.to_owned());
        }
        format!("  - {}\n", parts.join("\n    "))
    }

    fn text(&self, rules: &[RuleStyle], catch_all: bool) -> String {
        let mut text = String::new();
        if self.document {
            text.push_str("---\n");
        }
        if self.comments {
            text.push_str("# Wer was lesen darf — überall\n");
        }
        text.push_str(&self.keys());
        text.push_str(if self.blanks { "\ncreation_rules:\n" } else { "creation_rules:\n" });
        for (number, rule) in rules.iter().enumerate() {
            if self.blanks && number > 0 {
                text.push('\n');
            }
            if rule.comment {
                text.push_str("  # about the next\n");
            }
            text.push_str(&self.rule(rule, number));
        }
        if catch_all {
            text.push_str(&format!("  - age: {}\n", self.named(0)));
        }
        if !self.final_newline {
            text.pop();
        }
        let text = if self.crlf { text.replace('\n', "\r\n") } else { text };
        if self.bom { format!("\u{feff}{text}") } else { text }
    }
}

/// How many shapes sops is asked about: each takes several processes.
const ASKED: u32 = 24;

#[test]
fn every_shape_goes_the_whole_way_of_a_host() {
    let sops = Sops::new();
    let shapes = (style(), prop::collection::vec(rule(), 1..5), any::<bool>());
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let mut runner = TestRunner::new(Config {
        cases: cases.unwrap_or(160),
        failure_persistence: None,
        ..Config::default()
    });
    let asked = std::cell::Cell::new(0);
    let outcomes = std::cell::RefCell::new(std::collections::BTreeMap::<String, usize>::new());
    let result = runner.run(&shapes, |(style, rules, catch_all)| {
        let text = style.text(&rules, catch_all);
        asked.set(asked.get() + 1);
        let sops = sops.as_ref().filter(|_| asked.get() <= ASKED || cases.is_some());
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            outcome("shape", &text, sops)
        }));
        let outcome = outcome.map_err(|panic| {
            let reason = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            TestCaseError::fail(format!("{reason}\n{text}"))
        })?;
        let word = outcome.split(':').next().unwrap_or_default().to_owned();
        *outcomes.borrow_mut().entry(word).or_default() += 1;
        Ok(())
    });
    println!("{:?}", outcomes.borrow());
    if let Err(error) = result {
        panic!("{error}");
    }
    let edited = outcomes.borrow().get("edited").copied().unwrap_or(0);
    assert!(edited > outcomes.borrow().values().sum::<usize>() / 2, "most shapes must be editable");
}
