//! A plan as text: a calm table that says what each step changes, and marks what
//! cannot be undone.

use super::Style;
use super::table;
use super::text::{clean, duration, fit, wrap};
use crate::run::plan::{Plan, PlanStep, State};

/// Columns before the last one, gaps included: mark, longest name, machine;
const BEFORE_LAST: usize = 3 + 11 + 8;
/// and of the time, which a plan that was not begun does not have.
const TIME: usize = 9;
/// Where text is broken when the columns are not known.
const READABLE: usize = 100;
/// Lines of a reason; the log has all of them.
const REASON_LINES: usize = 6;
const IRREVERSIBLE: &str = "! cannot be undone";

impl Plan {
    /// The plan for people.
    pub fn text(&self, style: Style) -> String {
        let timed = self.steps.iter().any(|step| step.seconds.is_some());
        let before = BEFORE_LAST + if timed { TIME } else { 0 };
        let columns = style.columns.unwrap_or(READABLE).saturating_sub(before).max(20);
        let mut rows = vec![vec!["", "step", "on", "time", "what"]]
            .into_iter()
            .map(|names| names.into_iter().map(|name| style.dim(name)).collect())
            .chain(self.steps.iter().flat_map(|step| rows(step, columns, style)))
            .collect::<Vec<Vec<String>>>();
        if !timed {
            rows.iter_mut().for_each(|row| drop(row.remove(3)));
        }
        let body = table(&[], &rows, style);
        format!("{}\n{body}{}", self.heading(style), self.footer(style))
    }

    /// Host and target, then what else is known of the run.
    fn heading(&self, style: Style) -> String {
        let target = self.target.as_ref().map(|target| format!(" → {}", clean(target)));
        let head = format!("{}{}", clean(&self.host), target.unwrap_or_default());
        let facts = [
            self.strategy.clone(),
            self.phase.as_ref().map(|phase| format!("the target is {phase}")),
            self.run.map(|run| format!("run {run}")),
        ];
        let facts: Vec<String> = facts.into_iter().flatten().collect();
        let mut text = format!("{}\n", style.strong(&head));
        if !facts.is_empty() {
            text.push_str(&format!("{}\n", style.dim(&clean(&facts.join(", ")))));
        }
        text
    }

    fn footer(&self, style: Style) -> String {
        let of = |state| self.steps.iter().filter(|step| step.state == state).count();
        let counts = [State::Done, State::Running, State::Ready, State::Blocked, State::Failed]
            .map(|state| (of(state), state.as_str()));
        let counts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}"))
            .collect();
        let seconds: f64 = self.steps.iter().filter_map(|step| step.seconds).sum();
        let time = if seconds > 0.0 { format!(", {}", duration(seconds)) } else { String::new() };
        format!("\n{}\n", style.dim(&format!("{}{time}", counts.join(", "))))
    }
}

/// The line of a step and the lines of detail below it.
fn rows(step: &PlanStep, columns: usize, style: Style) -> Vec<Vec<String>> {
    let off = matches!(step.state, State::Skipped | State::NotApplicable);
    let paint = |text: &str| if off { style.dim(text) } else { text.to_owned() };
    let mut rows = vec![vec![
        mark(step.state, style),
        paint(step.id.as_str()),
        style.dim(&step.machine.to_string()),
        style.dim(&step.seconds.map(duration).unwrap_or_default()),
        headline(step, columns, style),
    ]];
    for line in details(step, columns, style) {
        rows.push(vec![String::new(), String::new(), String::new(), String::new(), line]);
    }
    rows
}

fn mark(state: State, style: Style) -> String {
    match state {
        State::Done => style.good("✓"),
        State::Ready => style.dim("○"),
        State::Running => style.active("▶"),
        State::Blocked | State::Failed => style.bad("✗"),
        State::NotApplicable | State::Skipped => style.dim("·"),
    }
}

/// The evidence of what is done, else the title.
fn headline(step: &PlanStep, columns: usize, style: Style) -> String {
    let off = match step.state {
        State::Done => {
            let evidence = step.evidence.as_ref().map(|evidence| clean(&evidence.summary));
            let text = evidence.filter(|text| !text.is_empty());
            return fit(&text.unwrap_or_else(|| step.title.to_owned()).replace('\n', " "), columns);
        }
        State::NotApplicable => "no longer needed",
        State::Skipped => "left out",
        _ => return step.title.to_owned(),
    };
    let reason = step.reason.as_ref().map(|reason| format!(": {}", clean(reason)));
    style.dim(&fit(&format!("{off}{}", reason.unwrap_or_default()).replace('\n', " "), columns))
}

/// What is still to change, or why it cannot go on.
fn details(step: &PlanStep, columns: usize, style: Style) -> Vec<String> {
    match (step.state, &step.reason) {
        (State::Blocked | State::Failed, Some(reason)) => {
            let lines = wrap(&clean(reason), columns);
            lines.iter().take(REASON_LINES).map(|line| style.bad(line)).collect()
        }
        (State::Ready | State::Running, _) => {
            let warning = (!step.reversible).then(|| style.warning(IRREVERSIBLE));
            let effects = step.effects.iter().map(|effect| wrap(effect, columns - 2).join("\n  "));
            let effects = effects.map(|effect| format!("- {effect}"));
            let lines = effects
                .flat_map(|effect| effect.lines().map(|line| style.dim(line)).collect::<Vec<_>>());
            warning.into_iter().chain(lines).collect()
        }
        _ => Vec::new(),
    }
}
