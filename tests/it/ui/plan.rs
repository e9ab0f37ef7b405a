//! What a plan looks like: text, Mermaid, SVG.

use landfall::error::StepError;
use landfall::run::plan::{Plan, PlanStep, State};
use landfall::run::step::{Effect, Evidence, Machine, Status, StepId};
use landfall::ui::Style;

const fn effect(machine: Machine, change: &'static str, reversible: bool) -> Effect {
    Effect { machine, change, reversible }
}

/// A plan with a step in each state.
fn plan() -> Plan {
    use Machine::{Source, Target};
    let step = |id, effects: &[Effect]| PlanStep::new(id, effects);
    let done = Status::Done(Evidence::new("SSH host key SHA256:qX0hZ0yT8b2GqvYv2yVtq3bSxWq0F8k4"));
    let rejected = StepError::new("the remote refuses pushes", "hook declined", "Ask its owner.");
    let mut running = step(StepId::Copy, &[effect(Target, "copies the closure to /mnt", true)]);
    running.state = State::Running;
    let mut plan = Plan::new(
        "guppy",
        vec![
            step(StepId::Check, &[]),
            step(StepId::Identity, &[effect(Source, "writes keys", true)]).observed(&done),
            step(StepId::Secrets, &[effect(Source, "re-encrypts and pushes nix-secrets", true)])
                .observed(&Status::Blocked(rejected)),
            step(StepId::Installer, &[]).observed(&Status::Superseded("it is installed".into())),
            step(
                StepId::Disks,
                &[
                    effect(Target, "erases and partitions the disks that the layout names", false),
                    effect(Target, "mounts them at /mnt", true),
                ],
            ),
            running,
            step(StepId::Retire, &[]).skipped("guppy was not installed before"),
        ],
    );
    plan.strategy = Some("staged".into());
    plan.phase = Some("installer".into());
    plan.target = Some("root@192.0.2.10".into());
    plan.steps[1].seconds = Some(0.3);
    plan
}

#[test]
fn text_says_what_changes_and_what_cannot_be_undone() {
    insta::assert_snapshot!(plan().text(Style::PLAIN));
}

#[test]
fn text_fits_eighty_columns() {
    let text = plan().text(Style { color: true, columns: Some(80) });
    let text = console::strip_ansi_codes(&text);
    for line in text.lines() {
        assert!(console::measure_text_width(line) <= 80, "{line}");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn mermaid_names_steps_states_and_the_irreversible() {
    insta::assert_snapshot!(plan().mermaid());
}

#[test]
fn the_drawing_is_whole_and_escapes_what_it_is_given() {
    let mut plan = plan();
    plan.target = Some("a<b>&\"c\"\x1b[31m".into());
    let svg = plan.svg();
    assert!(svg.contains("a&lt;b&gt;&amp;&quot;c&quot;"), "{svg}");
    assert!(!svg.contains('\x1b'));
    assert_eq!(svg.matches("<g>").count(), plan.steps.len());
    assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
}
