//! Edits of `.sops.yaml` in the shapes that people write, and what is refused.

use landfall::error::Advice;
use landfall::sops::rules::Rules;
use landfall::sops::rules::edit;
use landfall::sops::rules::edit::{Addition, EditError};
use landfall::sops::rules::hosts::Who;
use landfall::sops::rules::new_rule::{NewRule, RuleKey};
use proptest::prelude::*;

const ME: &str = "age1v8zjc47jmlqwefyu66s0d4ke98qr4vnuj3cpvs4z9npfdw833dxqwjrhzv";
const OLD: &str = "age1hjm3aujg9e79f5yth8a2cejzdjg5n9vnu96l05p70uvfpeltnpms7yy3pp";
const NEW: &str = "age17044m9wgakla6pzftf4srtl3h5mcsr85jysgt5fg23zpnta8sfdqhzn452";

const OTHER: &str = "age1xyey63dkk2jh24xk7qvzkgm8nndvq4w4adran0reyyptuwh7kc3qymazzd";
const THIRD: &str = "age1vucwk6zemzkw4a05zun3rytlsuqyjj47g6c507rsugja0xkdr5wqngvn67";

fn addition(host: &str, rules: &[usize]) -> Addition {
    Addition {
        host: host.into(),
        recipient: NEW.into(),
        rules: rules.into(),
        ..Addition::default()
    }
}

/// Adds `new` to rule 0, expects exactly these added lines, and takes it out again.
fn adds(text: &str, added: &[&str]) -> String {
    let text = text.replace("ME", ME).replace("OLD", OLD);
    let edited =
        edit::add(&text, &addition("new", &[0])).unwrap_or_else(|e| panic!("{e}\n{text}")).text;
    let diff = similar::TextDiff::from_lines(&text, &edited);
    let changes: Vec<_> =
        diff.iter_all_changes().filter(|c| c.tag() != similar::ChangeTag::Equal).collect();
    let found: Vec<String> = changes
        .iter()
        .filter(|change| change.tag() == similar::ChangeTag::Insert)
        .map(|change| {
            change.value().trim_end().replace(NEW, "NEW").replace(ME, "ME").replace(OLD, "OLD")
        })
        .collect();
    assert_eq!(found, added, "{edited}");
    // Its name alone says whose key it is.
    let removed = edit::remove(&edited, &Who::named("new"), &[]).unwrap();
    assert_eq!(removed.text, text);
    edited
}

#[test]
fn flow_lists_strings_and_quotes() {
    adds(
        "keys: [&me ME, &host_old OLD]\ncreation_rules:\n  - key_groups: [{age: [*me, *host_old]}]\n",
        &[
            "keys: [&me ME, &host_old OLD, &host_new NEW]",
            "  - key_groups: [{age: [*me, *host_old, *host_new]}]",
        ],
    );
    adds("creation_rules:\n  - age: ME,OLD\n", &["  - age: ME,OLD,NEW # new: NEW"]);
    adds("creation_rules:\n  - age: \"ME, OLD\"\n", &["  - age: \"ME, OLD, NEW\" # new: NEW"]);
    adds(
        "creation_rules:\n  - age: >-\n      ME,\n      OLD\n    path_regex: x\n",
        &["  - age: >- # new: NEW", "      OLD,", "      NEW"],
    );
    adds(
        "creation_rules:\n  - age: &all [ME, OLD]\n  - path_regex: y\n    age: [ME]\n",
        &["  - age: &all [ME, OLD, NEW] # new: NEW"],
    );
    adds(
        "keys:\n  - &me \"ME\"\ncreation_rules:\n  - key_groups:\n      - age:\n          - *me\n",
        &["  - &new \"NEW\"", "          - *new"],
    );
    adds(
        "keys:\n- &me ME   # mine\ncreation_rules:\n- key_groups:\n  - age:\n    - *me   # mine\n",
        &["- &new NEW", "    - *new"],
    );
    adds(
        "creation_rules:\n  - key_groups:\n    - age:\n      - 'ME' # laptop\n",
        &["      - 'NEW' # new"],
    );
}

#[test]
fn keys_in_one_text_are_told_apart_by_their_names() {
    let config = format!("creation_rules:\n  - age: {ME},{OLD}   # me, my phone\n");
    let one = edit::add(&config, &addition("one", &[0])).unwrap().text;
    let two = Addition { recipient: OTHER.into(), ..addition("two", &[0]) };
    let both = edit::add(&one, &two).unwrap().text;
    let named = format!("# me, my phone, one: {NEW}, two: {OTHER}\n");
    assert!(both.ends_with(&named), "{both}");
    let replaced = edit::replace(&both, &Who::named("one"), THIRD).unwrap().text;
    assert_eq!(replaced, both.replace(NEW, THIRD));
    let renamed = edit::rename(&both, &Who::named("two"), "three").unwrap().text;
    assert_eq!(renamed, both.replace("two: ", "three: "));
    let without = edit::remove(&renamed, &Who::named("one"), &[]).unwrap().text;
    let three = format!("{ME},{OLD},{OTHER}   # me, my phone, three: {OTHER}\n");
    assert!(without.ends_with(&three), "{without}");
    assert_eq!(edit::remove(&without, &Who::named("three"), &[]).unwrap().text, config);
    // A name in front of all is nobody's in particular.
    assert_eq!(edit::remove(&config, &Who::named("me"), &[]).unwrap().text, config);
}

#[test]
fn groups_of_hosts_in_lists_and_maps() {
    adds(
        "keys:\n  users:\n    - &me ME\n  hosts:\n    - &old OLD\ncreation_rules:\n  - key_groups:\n      - age: [*me]\n",
        &["    - &new NEW", "      - age: [*me, *new]"],
    );
    adds(
        "keys:\n  - &users:\n    - &me ME\n  - &hosts:\ncreation_rules:\n  - key_groups:\n      - age:\n          - *me\n",
        &["    - &new NEW", "          - *new"],
    );
    adds(
        "keys:\n  hosts: &hosts\n    - &old OLD\ncreation_rules:\n  - key_groups:\n      - age: *hosts\n",
        &["    - &new NEW"],
    );
    adds(
        "keys:\n  hosts:\n    old: {age: [&ssh-old OLD]}\ncreation_rules:\n  - key_groups:\n      - age:\n          - *ssh-old\n",
        &["    new: {age: [&ssh-new NEW]}", "          - *ssh-new"],
    );
    adds(
        "keys:\n  - &host_old OLD\n  - &me ME\ncreation_rules:\n  - key_groups:\n      - age:\n          - *host_old\n          - *me\n",
        &["  - &host_new NEW", "          - *host_new"],
    );
    adds(
        "keys:\n  # hosts\n  - &old OLD\n  # people\n  - &me ME\ncreation_rules:\n  - key_groups:\n      - age:\n          - *me\n",
        &["  - &new NEW", "          - *new"],
    );
}

#[test]
fn an_anchor_without_a_key_is_no_pattern() {
    // Found by fuzzing: the new name and its key were written as one word.
    for hosts in ["- &pike", "- &pike\n    - &perch OLD"] {
        let config = format!("keys:\n  - &hosts:\n    {hosts}").replace("OLD", OLD);
        let added = edit::add(&config, &addition("new", &[])).unwrap();
        let defined = added.text.contains(&format!("- &new {NEW}"));
        assert_eq!(defined, hosts.contains("perch"), "{}", added.text);
        assert!(defined || added.text == config, "{}", added.text);
        let removed = edit::remove(&added.text, &Who::named("new"), &[]).unwrap();
        assert_eq!(removed.text, config);
    }
}

#[test]
fn hosts_too_big_to_copy_leave_the_key_in_the_rule() {
    adds(
        "keys:\n  hosts:\n    old:\n      serial: 7\n      age:\n        - &old OLD\ncreation_rules:\n  - key_groups:\n      - age:\n          - *old\n",
        &["          - NEW # new"],
    );
}

#[test]
fn keys_of_other_kinds_stay() {
    adds(
        "creation_rules:\n  - key_groups:\n      - pgp:\n          - ABCD\n",
        &["        age:", "          - NEW # new"],
    );
    adds("creation_rules:\n  - pgp: ABCD\n", &["    age: NEW # new"]);
    adds(
        "keys:\n  - &me ME\ncreation_rules:\n  - path_regex: a\n    age: *me\n",
        &["  - &new NEW", "    key_groups: [{age: [*me, *new]}]"],
    );
    adds(
        "keys:\n  - &me ME\ncreation_rules:\n  - key_groups:\n      - age: [*me]\n      - age: [OLD]\n",
        &["  - &new NEW", "      - age: [*me, *new]", "      - age: [OLD, *new]"],
    );
    adds(
        "default: &default\n  key_groups:\n    - age: [ME]\ncreation_rules:\n  - <<: *default\n    path_regex: a\n",
        &["    - age: [ME, NEW] # new: NEW"],
    );
}

#[test]
fn every_byte_that_is_not_meant_stays() {
    for text in [
        "# küche\nkeys:\r\n  - &me ME \r\ncreation_rules:\r\n  - path_regex: ä\\.yaml$\r\n    key_groups:\r\n      - age:\r\n          - *me\r\n",
        "\u{feff}keys:\n  - &me ME\ncreation_rules:\n  - key_groups:\n      - age:\n          - *me",
        "---\nkeys:\n\n  - &me ME\n\n\ncreation_rules:\n  - key_groups:\n      - age:\n\n          - *me\n\n  # end\n",
        "creation_rules:\n  - key_groups:\n      - age:\n          - *me\nkeys: 1\n"
            .replace("*me", "ME")
            .as_str(),
    ] {
        let text = text.replace("ME", ME);
        let added = edit::add(&text, &addition("new", &[0])).unwrap().text;
        for line in text.lines() {
            assert!(added.contains(line.trim_end_matches('\r')), "{line} went missing");
        }
        assert_eq!(added.contains("\r\n"), text.contains("\r\n"));
        assert_eq!(
            edit::remove(&added, &Who { name: "new", recipient: Some(NEW), ..Who::default() }, &[])
                .unwrap()
                .text,
            text
        );
    }
}

#[test]
fn a_name_is_made_valid_and_collisions_are_found() {
    let text = format!("keys:\n  - &john_doe_host {ME}\ncreation_rules:\n  - age: {ME}\n");
    let error = edit::add(&text, &addition("john.doe@host", &[0])).unwrap_err();
    assert!(matches!(error, EditError::OtherKey { .. }), "{error}");
    let other = text.replace("&john_doe_host", "&somebody");
    let added = edit::add(&other, &addition("john.doe@host", &[0])).unwrap().text;
    assert!(added.contains("&john_doe_host "), "{added}");
    Rules::parse(&added).unwrap();
}

#[test]
fn a_person_of_the_same_name_is_not_the_host() {
    let text = "keys:\n  users:\n    - &new ME\n  hosts:\n    - &old OLD\ncreation_rules:\n  - key_groups:\n      - age: [*new]\n";
    adds(text, &["    - &host_new NEW", "      - age: [*new, *host_new]"]);
    let flat = "keys:\n  - &users:\n    - &new ME\n  - &hosts:\n    - &old OLD\ncreation_rules:\n  - key_groups:\n      - age:\n          - *new\n";
    adds(flat, &["    - &host_new NEW", "          - *host_new"]);
    let named = "keys:\n  - &new ME\n  - &host_old OLD\ncreation_rules:\n  - key_groups:\n      - age: [*new]\n";
    adds(named, &["  - &host_new NEW", "      - age: [*new, *host_new]"]);
}

#[test]
fn the_same_name_twice_or_of_another_key_is_refused() {
    let twice = format!("keys:\n  - &new {ME}\n  - &new {OLD}\ncreation_rules:\n  - age: {ME}\n");
    let error = edit::add(&twice, &addition("new", &[0])).unwrap_err();
    assert!(
        error.to_string().contains("line 2") && error.to_string().contains("line 3"),
        "{error}"
    );
    assert!(error.hint().contains("--anchor"));
    let same =
        format!("keys:\n  - &new {NEW}\ncreation_rules:\n  - key_groups:\n      - age: [*new]\n");
    assert_eq!(edit::add(&same, &addition("new", &[0])).unwrap().text, same);
}

#[test]
fn replacing_reaches_literals_and_spares_other_hosts() {
    let text = format!(
        "keys:\n  - &new {OLD}\n  - &twin {OLD}\ncreation_rules:\n  - key_groups:\n      - age: [*new, *twin]\n  - age: {ME},{OLD}\n"
    );
    let edited = edit::replace(&text, &Who::named("new"), NEW).unwrap();
    assert!(
        edited.text.contains(&format!("&new {NEW}"))
            && edited.text.contains(&format!("{ME},{NEW}"))
    );
    assert!(edited.text.contains(&format!("&twin {OLD}")));
    assert!(edited.warnings[0].contains("twin"), "{:?}", edited.warnings);
}

#[test]
fn a_rename_reaches_everything_that_says_the_name() {
    let text = format!(
        "keys:\n  hosts:\n    old: &host_old {OLD}\n    old-2: &host_old-2 {ME}\ncreation_rules:\n  - path_regex: hosts/old/[^/]+\\.yaml$\n    key_groups:\n      - age:\n          - *host_old\n          - *host_old-2\n"
    );
    let renamed = edit::rename(&text, &Who::named("old"), "young").unwrap().text;
    let expected = text
        .replace("old: &host_old ", "young: &host_young ")
        .replace("*host_old\n", "*host_young\n")
        .replace("hosts/old/", "hosts/young/");
    assert_eq!(renamed, expected);
}

#[test]
fn shared_lists_warn_of_the_other_rules() {
    let text = format!(
        "all: &all [{ME}]\ncreation_rules:\n  - path_regex: a\n    age: *all\n  - path_regex: b\n    age: *all\n"
    );
    let edited = edit::add(&text, &addition("new", &[0])).unwrap();
    assert!(
        edited.warnings.iter().any(|warning| warning.contains("path_regex: b")),
        "{:?}",
        edited.warnings
    );
}

#[test]
fn what_sops_cannot_read_is_refused_with_its_place() {
    for (text, place) in [
        ("keys:\n  - &my.host x\n", "line 2, column 5"),
        ("creation_rules:\n\t# tab\n  - age: x\n", "line 2"),
        ("creation_rules: x\n", "line 1"),
        ("creation_rules:\n  - age: [[x]]\n", "line 2"),
        ("a: [\n", "line"),
        (
            "a: &a [x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e]\ng: [*f, *f, *f, *f, *f, *f]\n",
            "line 1",
        ),
    ] {
        let error = edit::add(text, &addition("new", &[])).unwrap_err().to_string();
        assert!(error.contains(place), "{error}");
    }
    let rules = Rules::parse("creation_rules:\n  - path_regex: '('\n    age: x\n").unwrap();
    let error = rules.rule_for(std::path::Path::new("a")).unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("does not compile"), "{error}");
    let generated = "# This file is generated by `nix run .#sops`.\ncreation_rules:\n  - age: x\n";
    let error = edit::add(generated, &addition("new", &[0])).unwrap_err();
    assert!(error.hint().contains("nix run .#sops"), "{}", error.hint());
}

#[test]
fn a_rule_that_holds_itself_does_not_hang() {
    let text = "creation_rules:\n  - &a\n    <<: *a\n    path_regex: x\n    key_groups: [*a]\n";
    let _ = edit::add(text, &addition("new", &[0]));
}

#[test]
fn new_rules_are_laid_out_like_their_neighbours() {
    let rule = |before| NewRule {
        path_regex: "^hosts/new/a: b\\.yaml$".into(),
        others: vec![RuleKey::new("age", ME)],
        before,
    };
    let with = |text: &str, before| {
        let text = text.replace("ME", ME);
        let addition = Addition { new_rules: vec![rule(before)], ..addition("new", &[]) };
        let added = edit::add(&text, &addition).unwrap_or_else(|e| panic!("{e}\n{text}")).text;
        let drop = [rule(before).path_regex];
        let who = Who { name: "new", recipient: Some(NEW), ..Who::default() };
        assert_eq!(edit::remove(&added, &who, &drop).unwrap().text, text, "{added}");
        added.replace(ME, "ME").replace(NEW, "NEW")
    };
    let all = "\n  # the rest\n  - path_regex: .*\n    key_groups:\n    - age:\n      - *me\n";
    let one = "creation_rules:\n  - path_regex: a\n    key_groups:\n    - age:\n      - *me\n";
    assert_eq!(
        with(&format!("keys:\n  - &me ME\n{one}{all}"), Some(1)),
        format!(
            "keys:\n  - &me ME\n  - &new NEW\n{one}\n  - path_regex: '^hosts/new/a: b\\.yaml$' # made by landfall\n    key_groups:\n    - age:\n      - *me\n      - *new\n{all}"
        )
    );
    assert_eq!(
        with("creation_rules:\n- path_regex: 'a'\n  age: ME\n", None),
        "creation_rules:\n- path_regex: 'a'\n  age: ME\n- path_regex: '^hosts/new/a: b\\.yaml$' # made by landfall\n  key_groups:\n    - age:\n        - ME\n        - NEW # new\n"
    );
    assert_eq!(
        with("# top\ncreation_rules:\n  # all\n  - age: ME\n", Some(0)),
        "# top\ncreation_rules:\n  - path_regex: '^hosts/new/a: b\\.yaml$' # made by landfall\n    key_groups:\n      - age:\n          - ME\n          - NEW # new\n  # all\n  - age: ME\n"
    );
}

/// A config in one of the common shapes.
fn config() -> impl Strategy<Value = (String, usize)> {
    let names = prop::collection::vec("[a-z][a-z0-9_-]{0,6}", 1..6);
    let rules = prop::collection::vec((0u8..6, any::<bool>(), any::<bool>()), 1..5);
    (names, rules, 0u8..5, any::<bool>(), any::<bool>()).prop_map(
        |(mut names, rules, keys, crlf, end)| {
            names.sort();
            names.dedup();
            names.retain(|name| name != "new");
            names.push("me".into());
            let mut text = String::from("# comment\n");
            let prefix = if keys == 1 { "host_" } else { "" };
            text.push_str(match keys {
                2 => "keys:\n  - &hosts: # group\n",
                3 => "keys:\n  hosts:\n",
                _ => "keys:\n",
            });
            for name in &names {
                text.push_str(&match keys {
                    2 => format!("    - &{name} {ME} # c\n"),
                    3 => format!("    {name}: &{name} '{ME}'\n"),
                    4 => format!("- &{name}   {ME} \n"),
                    _ => format!("  - &{prefix}{name} {ME}\n"),
                });
            }
            let first = format!("{prefix}{}", names[0]);
            text.push_str("creation_rules:\n");
            let count = rules.len();
            for (index, (shape, blank, comment)) in rules.into_iter().enumerate() {
                if blank {
                    text.push('\n');
                }
                if comment {
                    text.push_str("  # about the next\n");
                }
                text.push_str(&format!("  - path_regex: r{index}/.*\n"));
                match shape {
                    0 => text.push_str(&format!(
                        "    key_groups:\n      - age:\n          - *{first}\n"
                    )),
                    1 => text.push_str(&format!(
                        "    key_groups:\n    - age:\n      - {ME} # x\n      pgp:\n      - AB\n"
                    )),
                    2 => text.push_str(&format!("    age: {ME},{OLD}\n")),
                    3 => {
                        text.push_str(&format!("    key_groups:\n      - age: [*{first}, {OLD}]\n"))
                    }
                    4 => text.push_str(&format!("    age: *{first}\n")),
                    _ => text.push_str(&format!(
                        "    key_groups:\n      - pgp: [AB]\n      - age: [{OLD}]\n"
                    )),
                }
            }
            if !end {
                text.pop();
            }
            (if crlf { text.replace('\n', "\r\n") } else { text }, count)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_is_added_can_be_taken_out_without_a_trace((text, count) in config(), pick in any::<prop::sample::Index>()) {
        let rule = pick.index(count);
        let added = edit::add(&text, &addition("new", &[rule])).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        prop_assert!(added.text != text);
        let rules = Rules::parse(&added.text).unwrap();
        prop_assert!(rules.rules().unwrap()[rule].recipients().contains(&NEW));
        let who = Who { name: "new", recipient: Some(NEW), ..Who::default() };
        let removed = edit::remove(&added.text, &who, &[]).map_err(|e| TestCaseError::fail(format!("{e}\n{}", added.text)))?;
        prop_assert_eq!(removed.text, text);
    }

    #[test]
    fn no_text_makes_the_parser_or_an_edit_panic((text, _) in config(), noise in "[-&*:{}\\[\\]#,'\"|> \n\ta-z]{0,6}", at in any::<prop::sample::Index>(), cut in 0usize..8) {
        let mut at = at.index(text.len());
        while !text.is_char_boundary(at) { at -= 1; }
        let end = (at + cut).min(text.len());
        let broken = format!("{}{noise}{}", &text[..at], &text[end..]);
        for rules in [vec![], vec![0], vec![0, 1, 2]] {
            let _ = edit::add(&broken, &addition("new", &rules));
        }
        let who = Who { name: "me", recipient: Some(ME), ..Who::default() };
        let _ = edit::remove(&broken, &who, &[]);
        let _ = edit::replace(&broken, &who, NEW);
        let _ = edit::rename(&broken, &who, "other");
    }
}
