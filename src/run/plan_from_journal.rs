//! A plan filled from a journal alone: what `status` shows without asking a machine.

use super::journal;
use super::journal::{Entry, Line};
use super::plan::{Plan, PlanStep, State};
use super::step::StepId;

impl Plan {
    /// What the journal remembers of `host`'s run. `working` says whether a landfall
    /// is at work on it now: a step that was begun and not ended then runs, else it
    /// was interrupted.
    pub(crate) fn from_journal(host: &str, lines: &[Line], working: bool) -> Self {
        let completed = journal::completed(lines);
        let mut steps: Vec<PlanStep> = StepId::ALL.into_iter().map(PlanStep::usual).collect();
        for line in lines {
            record(&mut steps, line);
        }
        for step in &mut steps {
            settle(step, working, completed);
        }
        let identity = journal::identity(lines);
        Self {
            host: host.to_owned(),
            run: identity.map(|identity| identity.run),
            strategy: identity.map(|identity| identity.strategy.clone()),
            phase: phase(&steps).map(str::to_owned),
            target: identity.map(|identity| identity.target.clone()),
            steps,
        }
    }
}

fn record(steps: &mut [PlanStep], line: &Line) {
    let (Entry::Started { step: id, .. }
    | Entry::Finished { step: id, .. }
    | Entry::Failed { step: id, .. }) = &line.entry
    else {
        return;
    };
    let Some(step) = steps.iter_mut().find(|step| step.id == *id) else { return };
    match &line.entry {
        Entry::Finished { evidence, seconds, .. } => {
            step.state = State::Done;
            step.seconds = Some(*seconds);
            step.evidence = Some(evidence.clone());
            step.reason = None;
        }
        Entry::Failed { what, why, seconds, .. } => {
            step.state = State::Failed;
            step.seconds = Some(*seconds);
            step.reason = Some(format!("{what}\n{why}").trim().to_owned());
        }
        _ => {
            step.state = State::Running;
            step.started = Some(line.time);
            step.seconds = None;
            step.evidence = None;
            step.reason = None;
        }
    }
}

/// What the end of the journal makes of a step.
fn settle(step: &mut PlanStep, working: bool, completed: bool) {
    match step.state {
        State::Running if !working => {
            step.state = State::Failed;
            step.reason = Some("interrupted; the next run looks at it again".into());
        }
        State::Ready if completed => {
            step.state = State::Skipped;
            step.reason = Some("had no part in this run".into());
        }
        _ => {}
    }
}

/// The phase that the journal last knew the target to be in.
fn phase(steps: &[PlanStep]) -> Option<&'static str> {
    let done = |id| steps.iter().any(|step| step.id == id && step.state == State::Done);
    if done(StepId::Reboot) {
        Some("installed")
    } else if done(StepId::Installer) {
        Some("installer")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::step::Evidence;
    use jiff::Timestamp;

    fn at(second: i64, entry: Entry) -> Line {
        Line { time: Timestamp::from_second(1_800_000_000 + second).unwrap(), entry }
    }

    fn started(step: StepId) -> Entry {
        Entry::Started { step, intention: Evidence::default() }
    }

    fn finished(step: StepId) -> Entry {
        Entry::Finished { step, evidence: Evidence::new("well"), seconds: 2.0 }
    }

    fn step(plan: &Plan, id: StepId) -> &PlanStep {
        plan.steps.iter().find(|step| step.id == id).unwrap()
    }

    #[test]
    fn a_begun_step_runs_while_someone_works_and_else_was_interrupted() {
        let lines = [
            at(0, started(StepId::Installer)),
            at(2, finished(StepId::Installer)),
            at(3, started(StepId::Copy)),
        ];
        let plan = Plan::from_journal("guppy", &lines, true);
        assert_eq!(step(&plan, StepId::Copy).state, State::Running);
        assert_eq!(step(&plan, StepId::Copy).started, Some(lines[2].time));
        assert_eq!(step(&plan, StepId::Publish).state, State::Ready);
        assert_eq!(plan.phase.as_deref(), Some("installer"));
        let plan = Plan::from_journal("guppy", &lines, false);
        assert_eq!(step(&plan, StepId::Copy).state, State::Failed);
    }

    #[test]
    fn a_failure_is_forgotten_when_the_step_ends_well() {
        let failed = Entry::Failed {
            step: StepId::Copy,
            what: "copy failed".into(),
            why: "no route\n".into(),
            hint: String::new(),
            seconds: 1.0,
        };
        let mut lines = vec![at(0, started(StepId::Copy)), at(1, failed)];
        let plan = Plan::from_journal("guppy", &lines, false);
        let copy = step(&plan, StepId::Copy);
        assert_eq!(copy.state, State::Failed);
        assert_eq!(copy.reason.as_deref(), Some("copy failed\nno route"));
        lines.extend([at(5, started(StepId::Copy)), at(7, finished(StepId::Copy))]);
        lines.push(at(8, Entry::Completed));
        let plan = Plan::from_journal("guppy", &lines, false);
        let copy = step(&plan, StepId::Copy);
        assert_eq!((copy.state, copy.reason.as_ref()), (State::Done, None));
        assert_eq!(step(&plan, StepId::Retire).state, State::Skipped);
    }
}
