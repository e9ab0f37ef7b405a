//! A plan as a picture: Mermaid for documents, SVG for everything else.
//!
//! Two lanes, source and target; a step stands in the lane of the machine that it
//! changes, or across both. Irreversible steps have a heavy red edge. The SVG uses
//! no script, no font file and nothing from the network.

use std::fmt::Write;

use super::text::{clean, fit};
use crate::run::plan::{Plan, PlanStep, State};
use crate::run::step::Machine;

const LANE: usize = 330;
const MARGIN: usize = 24;
const GAP: usize = 40;
const BOX: usize = 46;
const PITCH: usize = BOX + 22;
const TOP: usize = 92;
/// What fits into a box at the size of the title's letters.
const TITLE_COLUMNS: usize = 46;

impl Plan {
    /// A Mermaid flowchart.
    pub fn mermaid(&self) -> String {
        let mut text = String::from("flowchart TD\n");
        for step in &self.steps {
            let label = format!("{}<br/>{} ({})", step.id, step.title, step.machine);
            // A label in quotes may hold anything but quotes.
            push(&mut text, format_args!("    {}[\"{}\"]\n", step.id, label.replace('"', "'")));
        }
        for pair in self.steps.windows(2) {
            push(&mut text, format_args!("    {} --> {}\n", pair[0].id, pair[1].id));
        }
        for step in &self.steps {
            push(&mut text, format_args!("    class {} {}\n", step.id, step.state.as_str()));
        }
        for state in STATES {
            let (fill, ink) = colors(state);
            push(
                &mut text,
                format_args!(
                    "    classDef {} fill:{fill},stroke:{ink},color:{ink}\n",
                    state.as_str()
                ),
            );
        }
        for step in self.steps.iter().filter(|step| !step.reversible) {
            push(
                &mut text,
                format_args!("    style {} stroke:{DANGER},stroke-width:3px\n", step.id),
            );
        }
        text
    }

    /// A drawing of the plan, white background, about 730 units wide.
    pub fn svg(&self) -> String {
        let width = 2 * MARGIN + 2 * LANE + GAP;
        let height = TOP + self.steps.len() * PITCH + MARGIN + 16;
        let mut svg = String::new();
        push(
            &mut svg,
            format_args!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
                 viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, sans-serif\">\n\
                 <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
            ),
        );
        self.svg_heading(&mut svg);
        lanes(&mut svg, height);
        for (index, pair) in self.steps.windows(2).enumerate() {
            arrow(&mut svg, index, [&pair[0], &pair[1]]);
        }
        for (index, step) in self.steps.iter().enumerate() {
            step_box(&mut svg, index, step);
        }
        push(
            &mut svg,
            format_args!(
                "<text x=\"{MARGIN}\" y=\"{}\" font-size=\"11\" fill=\"{DANGER}\">\
                 heavy red edge: cannot be undone</text>\n</svg>\n",
                height - 12
            ),
        );
        svg
    }

    fn svg_heading(&self, svg: &mut String) {
        let target = self.target.as_ref().map(|target| format!(" → {target}")).unwrap_or_default();
        let strategy = self.strategy.as_deref().unwrap_or("plan");
        push(
            svg,
            format_args!(
                "<text x=\"{MARGIN}\" y=\"36\" font-size=\"18\" font-weight=\"600\" fill=\"#1f2937\">\
                 {}{}<tspan font-weight=\"400\" fill=\"#6b7280\">, {}</tspan></text>\n",
                escape(&self.host),
                escape(&target),
                escape(strategy)
            ),
        );
    }
}

const STATES: [State; 7] = [
    State::Done,
    State::Ready,
    State::Blocked,
    State::NotApplicable,
    State::Running,
    State::Failed,
    State::Skipped,
];
const DANGER: &str = "#b91c1c";

/// Fill and ink of a state.
fn colors(state: State) -> (&'static str, &'static str) {
    match state {
        State::Done => ("#dcfce7", "#166534"),
        State::Ready => ("#f8fafc", "#334155"),
        State::Running => ("#dbeafe", "#1e40af"),
        State::Blocked | State::Failed => ("#fee2e2", "#991b1b"),
        State::NotApplicable | State::Skipped => ("#f3f4f6", "#9ca3af"),
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(arguments);
}

/// The left edge and the width of a step's box.
fn place(machine: Machine) -> (usize, usize) {
    match machine {
        Machine::Source => (MARGIN, LANE),
        Machine::Target => (MARGIN + LANE + GAP, LANE),
        Machine::Both => (MARGIN, 2 * LANE + GAP),
    }
}

fn lanes(svg: &mut String, height: usize) {
    for machine in [Machine::Source, Machine::Target] {
        let (x, width) = place(machine);
        push(
            svg,
            format_args!(
                "<text x=\"{}\" y=\"72\" font-size=\"13\" fill=\"#6b7280\" text-anchor=\"middle\">{machine}</text>\n\
                 <line x1=\"{0}\" y1=\"80\" x2=\"{0}\" y2=\"{1}\" stroke=\"#e5e7eb\" stroke-dasharray=\"3 5\"/>\n",
                x + width / 2,
                height - MARGIN - 8
            ),
        );
    }
}

/// From the bottom of one box to the top of the next, bent where the lane changes.
fn arrow(svg: &mut String, index: usize, [from, to]: [&PlanStep; 2]) {
    let (from, to) = (centre(from.machine, to.machine), centre(to.machine, from.machine));
    let top = TOP + index * PITCH + BOX;
    let bottom = top + PITCH - BOX;
    let middle = (top + bottom) / 2 - 2;
    push(
        svg,
        format_args!(
            "<path d=\"M{from} {top} V{middle} H{to} V{}\" fill=\"none\" stroke=\"#94a3b8\" stroke-width=\"1.5\"/>\n\
             <path d=\"M{} {} h8 l-4 6 z\" fill=\"#94a3b8\"/>\n",
            bottom - 6,
            to - 4,
            bottom - 6
        ),
    );
}

/// Where an arrow touches a box: a box across both lanes is left in the neighbour's lane.
fn centre(machine: Machine, neighbour: Machine) -> usize {
    let (x, width) = place(if machine == Machine::Both { neighbour } else { machine });
    x + width / 2
}

fn step_box(svg: &mut String, index: usize, step: &PlanStep) {
    let (x, width) = place(step.machine);
    let y = TOP + index * PITCH;
    let (fill, ink) = colors(step.state);
    let (edge, weight) = if step.reversible { (ink, "1") } else { (DANGER, "2.5") };
    push(
        svg,
        format_args!(
            "<g><title>{}</title><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BOX}\" rx=\"7\" \
             fill=\"{fill}\" stroke=\"{edge}\" stroke-width=\"{weight}\"/>\n\
             <text x=\"{}\" y=\"{}\" font-size=\"14\" font-weight=\"600\" fill=\"{ink}\">{}</text>\n\
             <text x=\"{}\" y=\"{}\" font-size=\"11\" fill=\"{ink}\" text-anchor=\"end\">{}</text>\n\
             <text x=\"{}\" y=\"{}\" font-size=\"12\" fill=\"{ink}\">{}</text></g>\n",
            escape(&tooltip(step)),
            x + 12,
            y + 20,
            step.id,
            x + width - 12,
            y + 19,
            step.state.as_str(),
            x + 12,
            y + 37,
            escape(&fit(step.title, TITLE_COLUMNS)),
        ),
    );
}

/// What the table's detail lines say.
fn tooltip(step: &PlanStep) -> String {
    let evidence = step.evidence.as_ref().map(|evidence| evidence.summary.clone());
    let parts = step.effects.iter().cloned().chain(evidence).chain(step.reason.clone());
    parts.collect::<Vec<_>>().join("\n")
}

fn escape(text: &str) -> String {
    clean(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
