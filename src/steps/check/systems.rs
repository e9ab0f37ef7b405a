//! What `check` asks of a system, whichever of the two that is.
//!
//! In a staged journey two systems run on the machine, the one that is installed first and
//! the full one. What would keep the one from starting would keep the other, so a check
//! looks at both, or says why one of them is enough.

use super::Findings;
use crate::error::StepError;
use crate::facts::Facts;
use crate::facts::HostFacts;
use crate::steps::context::Context;

/// Which of the systems a check looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Looks {
    Both,
    /// With the reason why the full one need not hold.
    First(&'static str),
    /// With the reason why the one that is installed first need not hold.
    Full(&'static str),
}

/// A check of one system, and which systems it is made of.
pub(crate) type SystemCheck = (Looks, fn(&Context, &HostFacts) -> Result<(), StepError>);

const FIRST: &str = "in the configuration that is installed first";
const FULL: &str = "in the full configuration";
const BOTH: &str = "in both configurations";

/// Makes each check of the systems that it looks at. Where there are two, what is wrong
/// says with which.
pub(crate) fn run(cx: &Context, checks: &[SystemCheck], findings: &mut Findings) {
    let Ok(Facts { full, minimal, .. }) = cx.facts() else { return };
    for (looks, check) in checks {
        match (looks, minimal) {
            (_, None) => drop(findings.take(check(cx, full))),
            (Looks::First(reason), Some(first)) => {
                tracing::debug!("not asked of the full configuration: {reason}");
                findings.take(of(FIRST, check(cx, first)));
            }
            (Looks::Full(reason), Some(_)) => {
                tracing::debug!("asked of the full configuration alone: {reason}");
                findings.take(of(FULL, check(cx, full)));
            }
            (Looks::Both, Some(first)) => take_both(findings, check(cx, first), check(cx, full)),
        }
    }
}

fn take_both(findings: &mut Findings, first: Result<(), StepError>, full: Result<(), StepError>) {
    match (first, full) {
        (Ok(()), Ok(())) => drop(findings.take(Ok(()))),
        (Err(one), Err(other)) if is_same(&one, &other) => {
            findings.take(of(BOTH, Err(one)));
        }
        (first, full) => {
            for problem in [of(FIRST, first), of(FULL, full)].into_iter().filter(Result::is_err) {
                findings.take(problem);
            }
        }
    }
}

fn is_same(one: &StepError, other: &StepError) -> bool {
    (&one.what, &one.why, &one.hint) == (&other.what, &other.why, &other.hint)
}

fn of(system: &str, result: Result<(), StepError>) -> Result<(), StepError> {
    result.map_err(|mut error| {
        error.what = format!("{} ({system})", error.what);
        error
    })
}

/// Something to tell of the systems, each once, with the system that it is true of.
pub(crate) fn told(facts: &Facts, tell: impl Fn(&HostFacts) -> Vec<String>) -> Vec<String> {
    let full = tell(&facts.full);
    let Some(first) = facts.minimal.as_ref().map(&tell) else { return full };
    let place = |text: &String| match (first.contains(text), full.contains(text)) {
        (true, true) => BOTH,
        (true, false) => FIRST,
        (false, _) => FULL,
    };
    let only_full = full.iter().filter(|text| !first.contains(text));
    let all = first.iter().chain(only_full);
    all.map(|text| format!("{text} ({})", place(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::check::{configuration, target};

    #[test]
    fn no_check_looks_at_one_system_without_a_reason() {
        for (looks, _) in configuration::OF_SYSTEMS.iter().chain(target::OF_SYSTEMS) {
            if let Looks::First(reason) | Looks::Full(reason) = looks {
                assert!(reason.split(' ').count() > 4, "{reason:?} is no reason");
            }
        }
        // What takes one of them by itself says why, on the line before.
        let files = [
            ("configuration", include_str!("configuration.rs")),
            ("keys", include_str!("keys.rs")),
            ("target", include_str!("target.rs")),
            ("boot_files", include_str!("boot_files.rs")),
            ("firmware", include_str!("firmware.rs")),
        ];
        for (name, text) in files {
            let lines: Vec<&str> = text.lines().collect();
            for (index, line) in lines.iter().enumerate() {
                let takes_one = [".first()", ".full", ".minimal"].iter().any(|it| {
                    line.match_indices(it).any(|(at, _)| {
                        line[..at].ends_with("facts()?") || line[..at].ends_with("facts")
                    })
                });
                let reason = index > 0 && lines[index - 1].trim().starts_with("// One system: ");
                assert!(!takes_one || reason, "{name}: no reason before {line:?}");
            }
        }
    }

    #[test]
    fn what_is_wrong_says_with_which_system() {
        let error = |what: &str| Err(StepError::new(what, "why", "hint"));
        let taken = |first, full| {
            let mut findings = Findings::default();
            take_both(&mut findings, first, full);
            findings.problems.into_iter().map(|problem| problem.what).collect::<Vec<_>>()
        };
        assert_eq!(taken(error("a"), Ok(())), [format!("a ({FIRST})")]);
        assert_eq!(taken(Ok(()), error("a")), [format!("a ({FULL})")]);
        assert_eq!(taken(error("a"), error("a")), [format!("a ({BOTH})")]);
        assert_eq!(taken(error("a"), error("b")).len(), 2);
        assert!(taken(Ok(()), Ok(())).is_empty());
    }

    #[test]
    fn what_is_told_of_both_is_told_once() {
        let with = |warnings: &[&str]| HostFacts {
            warnings: warnings.iter().map(|text| (*text).to_owned()).collect(),
            ..HostFacts::default()
        };
        let facts = Facts {
            full: with(&["old", "odd"]),
            minimal: Some(with(&["odd", "small"])),
            locked: None,
        };
        let said = told(&facts, |system| system.warnings.clone());
        let expected =
            [format!("odd ({BOTH})"), format!("small ({FIRST})"), format!("old ({FULL})")];
        assert_eq!(said, expected);
    }
}
