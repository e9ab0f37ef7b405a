//! Whether what the target reports may become part of the configuration.
//!
//! A report that is data alone is agreed to as most things are: at the question, by the
//! flag that asks for it, or by `--yes`. Whatever else the target printed would be code
//! that runs with the configuration: a person has to see it and say yes to this very text.

use serde_json::Value;

use super::generated::{Module, Outside, values};
use super::report::Backend;
use super::{facter, generated, in_flake};
use crate::config::choices::HardwareSource;
use crate::error::{Exit, StepError};
use crate::exec::Cmd;
use crate::git::Repo;
use crate::secret::sha256_hex;
use crate::steps::context::Context;
use crate::ui::prompt::Question;

/// How many lines are told where nobody sees the whole.
const LINES_TOLD: usize = 20;
/// How many characters of a line are told there.
const COLUMNS_TOLD: usize = 160;
/// How many lines of a difference stand in a question about data.
const DIFFERENCE: usize = 100;

/// What a report turned out to be.
enum Verdict {
    /// Data alone; the lines sum it up.
    Data(Vec<String>),
    /// A module with these lines that are more than that.
    Outside(Vec<Outside>),
}

fn judge(cx: &Context, text: &str) -> Result<Verdict, StepError> {
    let (named, verdict) = match in_flake::backend(cx) {
        Backend::GenerateConfig => match generated::parse(text) {
            Ok(module) => (module.platform().map(str::to_owned), Verdict::Data(settings(&module))),
            Err(outside) => return Ok(Verdict::Outside(outside)),
        },
        Backend::Facter => {
            let report = facter::parse(text).map_err(|why| {
                StepError::new(
                    "the report of nixos-facter is not what it should be",
                    why,
                    "Run nixos-facter on the target by hand and look at what it prints.",
                )
            })?;
            (facter::platform(&report).map(str::to_owned), Verdict::Data(devices(&report)))
        }
    };
    let wanted = &cx.facts()?.full.system;
    match named {
        Some(named) if named != *wanted => Err(StepError::new(
            format!("the target reports the hardware of {named}"),
            format!("the configuration is for {wanted}"),
            "Is it the right machine, and nixpkgs.hostPlatform right?",
        )
        .exit(Exit::Usage)),
        _ => Ok(verdict),
    }
}

/// The settings of a module, one a line.
fn settings(module: &Module) -> Vec<String> {
    let told = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items = items.iter().map(|item| item.as_str().map_or(item.to_string(), Into::into));
            items.collect::<Vec<String>>().join(" ")
        }
        other => other.to_string(),
    };
    let lines = module.settings.iter().map(|it| (it.path.join("."), told(&it.value)));
    lines
        .filter(|(_, value)| !value.is_empty())
        .map(|(path, value)| format!("{path}: {value}"))
        .collect()
}

/// How many devices of each kind a report of nixos-facter has.
fn devices(report: &Value) -> Vec<String> {
    let kinds = report.get("hardware").and_then(Value::as_object);
    let counts = kinds.into_iter().flatten().filter_map(|(kind, devices)| {
        devices.as_array().map(|devices| format!("{} {}", devices.len(), visible(kind)))
    });
    let counts: Vec<String> = counts.collect();
    let system = facter::platform(report).unwrap_or_default();
    vec![format!("nixos-facter on {system}: {}", counts.join(", "))]
}

/// Refuses, where nobody can be asked, a report that a person would have to see; where
/// somebody can, says that there will be a question.
pub(crate) fn foresee(cx: &Context, text: &str) -> Result<(), StepError> {
    let Verdict::Outside(outside) = judge(cx, text)? else { return Ok(()) };
    if !cx.prompter.is_interactive() {
        return Err(refusal(text, &outside));
    }
    cx.events.warn(format!(
        "nixos-generate-config on the target printed more than hardware; it is not taken over \
         without a question:\n{}",
        lines_of(text, &outside)
    ));
    Ok(())
}

/// Has `text` agreed to as the hardware file.
pub(crate) fn agree(cx: &mut Context, text: &str) -> Result<(), StepError> {
    let digest = sha256_hex(text.as_bytes());
    match judge(cx, text)? {
        // Whoever agreed to a report agreed to this one too, where it says no more.
        Verdict::Data(_) if cx.memory.answers.hardware.is_some() => return Ok(()),
        Verdict::Data(summary) => agree_to_data(cx, text, summary)?,
        Verdict::Outside(_) if cx.memory.answers.hardware.as_ref() == Some(&digest) => {
            return Ok(());
        }
        Verdict::Outside(outside) if !cx.prompter.is_interactive() => {
            return Err(refusal(text, &outside));
        }
        Verdict::Outside(outside) => agree_to_code(cx, text, &outside)?,
    }
    cx.memory.answers.hardware = Some(digest);
    Ok(())
}

fn agree_to_data(cx: &Context, text: &str, summary: Vec<String>) -> Result<(), StepError> {
    let asked_for =
        matches!(cx.config.hardware, Some(HardwareSource::GenerateConfig | HardwareSource::Facter));
    let program = in_flake::backend(cx).program();
    if asked_for || !cx.prompter.is_interactive() {
        cx.events.note(format!("{program} reports\n{}", indented(&summary)));
    }
    if asked_for {
        return Ok(());
    }
    let mut shown = match difference(cx, text)? {
        Some(difference) => difference,
        None => summary,
    };
    if shown.len() > DIFFERENCE {
        let more = shown.len() - DIFFERENCE;
        shown.truncate(DIFFERENCE);
        shown.push(format!("and {more} more lines"));
    }
    let question = Question::new(asks(cx), "--hardware generate-config")
        .detail(format!("{program} on the target reports:"))
        .details(shown)
        .answered_by_yes();
    if cx.prompter.confirm(&question)? { Ok(()) } else { Err(declined()) }
}

fn agree_to_code(cx: &Context, text: &str, outside: &[Outside]) -> Result<(), StepError> {
    is_nix(text)?;
    let whole = || text.lines().map(visible).collect();
    let shown = difference(cx, text)?.unwrap_or_else(whole);
    let question = Question::new(asks(cx), "--hardware keep")
        .detail("nixos-generate-config on the target printed:")
        .details(shown)
        .detail(
            "This is more than a description of hardware. What it says is evaluated on this \
             machine, built, committed and pushed; it can read the configuration, run programs \
             and let others log in. These lines are not the program's own:",
        )
        .details(lines_of(text, outside).lines().map(str::to_owned));
    if cx.prompter.confirm(&question)? { Ok(()) } else { Err(declined()) }
}

fn asks(cx: &Context) -> String {
    let file = cx.config.hardware_file().unwrap_or_else(|| "the hardware file".as_ref());
    format!("Take this over as {}?", file.display())
}

fn declined() -> StepError {
    StepError::new(
        "the hardware file was left as it is",
        "what the target reports was not agreed to",
        "Write the file yourself, commit it, and run the same command with --hardware keep.",
    )
    .exit(Exit::Person)
}

fn refusal(text: &str, outside: &[Outside]) -> StepError {
    StepError::new(
        "nixos-generate-config on the target printed more than hardware",
        lines_of(text, outside),
        "Is it the right machine? A terminal without --yes shows the whole and asks; --hardware \
         keep takes a file of your own instead.",
    )
    .exit(Exit::Person)
}

/// How the report differs from the file that is committed, or lies there; none without one.
fn difference(cx: &Context, text: &str) -> Result<Option<Vec<String>>, StepError> {
    let Some(file) = cx.config.hardware_file() else { return Ok(None) };
    let before = match cx.config.host_system() {
        Some(host) => Repo::open(&host.dir)?.show("HEAD", file)?,
        None => std::fs::read(file).ok(),
    };
    let before = before.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let before = before.filter(|before| before != text);
    Ok(before.map(|before| unified(&before, text, "committed", 3)))
}

/// The difference between two texts, with nothing in it that is not to be seen.
pub(crate) fn unified(before: &str, after: &str, name: &str, around: usize) -> Vec<String> {
    let diff = similar::TextDiff::from_lines(before, after);
    let diff = diff.unified_diff().context_radius(around).header(name, "reported").to_string();
    diff.lines().map(visible).collect()
}

/// A file that Nix cannot read is not asked about.
fn is_nix(text: &str) -> Result<(), StepError> {
    let parse = Cmd::new("nix-instantiate").args(["--parse", "-"]);
    parse.input(text.to_owned().into_bytes()).run().map(|_| ()).map_err(|error| {
        StepError::from(error).doing("what nixos-generate-config printed is not a Nix module")
    })
}

/// The lines that are outside, and why.
fn lines_of(text: &str, outside: &[Outside]) -> String {
    let lines: Vec<&str> = text.split('\n').collect();
    let mut told = Vec::new();
    for Outside { lines: range, why } in outside {
        for number in range.clone() {
            let line: String =
                visible(lines.get(number - 1).unwrap_or(&"")).chars().take(COLUMNS_TOLD).collect();
            told.push(format!("{number:>4}  {}", line.trim_end()));
        }
        told.push(format!("      ^ {why}"));
    }
    let more = told.len().saturating_sub(2 * LINES_TOLD);
    told.truncate(2 * LINES_TOLD);
    if more > 0 {
        told.push(format!("      and {more} more lines"));
    }
    told.join("\n")
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// A line with what cannot be seen written out, so that nothing in it is left unseen and
/// nothing moves the cursor.
fn visible(line: &str) -> String {
    let mut seen = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            '\t' => seen.push(' '),
            c if c == '\n' || values::is_hidden(c) => seen.extend(c.escape_unicode()),
            c => seen.push(c),
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_line_stays_unseen() {
        let hidden = "a\u{1b}]0;evil\u{7}\tb\u{202e}c\r\u{9b}2J";
        let seen = visible(hidden);
        assert_eq!(seen, "a\\u{1b}]0;evil\\u{7} b\\u{202e}c\\u{d}\\u{9b}2J");
        assert_eq!(crate::ui::text::clean(&seen), seen);
        let shown = unified("a\n", "a\n\u{1b}[2Kb\n", "committed", 3).join("\n");
        assert!(shown.contains("+\\u{1b}[2Kb"), "{shown}");
    }

    #[test]
    fn a_long_list_of_lines_is_cut() {
        let text = "x\n".repeat(200);
        let outside = [Outside { lines: 1..=200, why: "why".to_owned() }];
        let told = lines_of(&text, &outside);
        assert_eq!(told.lines().count(), 2 * LINES_TOLD + 1);
        assert!(told.ends_with("and 161 more lines"), "{told}");
    }
}
