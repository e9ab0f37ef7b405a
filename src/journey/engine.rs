//! The loop: observe, confirm, write down the intention, apply, observe again,
//! write down the proof.
//!
//! The same loop starts, resumes and finishes a journey, because what is done is
//! observed and not remembered.

use std::time::Instant;

use super::Planned;
use crate::error::{Exit, StepError};
use crate::exec;
use crate::run::crash_points;
use crate::run::crash_points::Boundary;
use crate::run::event::{Ending, Event};
use crate::run::journal::Entry;
use crate::run::step::{Disposition, Evidence, Status, StepId};
use crate::steps::Step;
use crate::steps::context::Context;

/// Runs `plan` until it is done or a step fails; what fails in a step is told as an event.
pub(crate) fn run(cx: &mut Context, plan: &[Planned]) -> Result<Exit, StepError> {
    if is_finished(cx, plan) {
        return Ok(Exit::Done);
    }
    let mut asked = false;
    for planned in plan {
        let id = planned.step.id();
        let _in_log = tracing::info_span!("step", step = %id).entered();
        let events = cx.events.clone();
        cx.events = events.of(id);
        let started = Instant::now();
        let result = go_on(cx, planned, plan, &mut asked, started);
        let seconds = started.elapsed().as_secs_f64();
        let failed = match result {
            Ok((ending, evidence)) => {
                cx.events.emit(Event::StepEnded { ending, evidence, seconds });
                None
            }
            Err(error) => {
                let error = plainly(error);
                fail(cx, id, &error, seconds);
                Some(error.exit)
            }
        };
        cx.events = events;
        if let Some(exit) = failed {
            return Ok(exit);
        }
    }
    // A part of the journey, as `check` runs it, completes nothing.
    if crate::journey::is_whole(&cx.config, plan) {
        cx.memory.journal.append(Entry::Completed)?;
    }
    Ok(Exit::Done)
}

/// Does the next step, or says why it does not run. All questions come before the first
/// step that does not prepare them.
fn go_on(
    cx: &mut Context,
    planned: &Planned,
    plan: &[Planned],
    asked: &mut bool,
    started: Instant,
) -> Result<(Ending, Evidence), StepError> {
    if let Disposition::Skip { reason, .. } = planned.disposition(cx)? {
        return Ok((Ending::Skipped, Evidence::new(reason)));
    }
    if !planned.step.is_groundwork() && !std::mem::replace(asked, true) {
        ask(cx, plan)?;
    }
    advance(cx, planned.step.as_ref(), started)
}

/// Whether there is nothing left to do: then nothing is checked or changed either.
fn is_finished(cx: &mut Context, plan: &[Planned]) -> bool {
    if !crate::run::journal::completed(cx.memory.journal.lines()) {
        return false;
    }
    let skipped =
        |planned: &Planned| matches!(planned.disposition(cx), Ok(Disposition::Skip { .. }));
    let settled = |planned: &&Planned| {
        skipped(planned)
            || !planned.step.lasts()
            || matches!(planned.step.observe(cx), Ok(Status::Done(_) | Status::NotApplicable(_)))
    };
    if !plan.iter().all(|planned| settled(&planned)) {
        return false;
    }
    for planned in plan {
        let evidence = cx.finished(planned.step.id()).cloned().unwrap_or_default();
        let ending = if skipped(planned) { Ending::Skipped } else { Ending::AlreadyDone };
        cx.events.of(planned.step.id()).emit(Event::StepEnded { ending, evidence, seconds: 0.0 });
    }
    cx.events.note("everything is as this run left it: nothing was changed");
    true
}

/// Asks everything that needs an answer, in one round before the long work: once
/// the keys are there, since what happens to the secrets depends on them.
fn ask(cx: &mut Context, plan: &[Planned]) -> Result<(), StepError> {
    for planned in plan {
        let step = planned.step.as_ref();
        if step.is_groundwork() || cx.memory.answers.confirmed.contains_key(&step.id()) {
            continue; // the command itself may have answered
        }
        if *planned.disposition(cx)? == Disposition::Run
            && matches!(step.observe(cx), Ok(Status::Ready))
        {
            let answer = step.confirm(cx)?;
            cx.memory.answers.confirmed.insert(step.id(), answer);
        }
    }
    Ok(())
}

fn advance(
    cx: &mut Context,
    step: &dyn Step,
    started: Instant,
) -> Result<(Ending, Evidence), StepError> {
    let id = step.id();
    cx.events.emit(Event::StepStarted { title: id.title().into() });
    stop_if_interrupted()?;
    match step.observe(cx)? {
        Status::Done(evidence) => {
            if cx.finished(id) != Some(&evidence) {
                finish(cx, id, &evidence, started)?;
            }
            return Ok((Ending::AlreadyDone, evidence));
        }
        Status::NotApplicable(reason) => return Ok((Ending::NotApplicable, Evidence::new(reason))),
        Status::Blocked(error) => return Err(error),
        Status::Ready if cx.finished(id).is_some() && step.lasts() => {
            cx.events.note(format!("{id} was done, and is open again: {}", id.title()));
        }
        Status::Ready => {}
    }
    let answer = match cx.memory.answers.confirmed.get(&id) {
        Some(answer) => answer.clone(),
        // It was not ready when the questions were asked.
        None => step.confirm(cx)?,
    };
    if let Disposition::Skip { reason, .. } = answer {
        // Whole: the table at the end has room for its beginning only.
        cx.events.note(reason.clone());
        return Ok((Ending::Skipped, Evidence::new(reason)));
    }
    crash_points::point(id, Boundary::BeforeStarted);
    let intention = step.intention(cx)?;
    cx.memory.journal.append(Entry::Started { step: id, intention })?;
    crash_points::point(id, Boundary::Started);
    step.apply(cx)?;
    crash_points::point(id, Boundary::Applied);
    stop_if_interrupted()?;
    let evidence = match step.observe(cx)? {
        Status::Done(evidence) => evidence,
        Status::Blocked(error) => return Err(error),
        Status::Ready | Status::NotApplicable(_) => {
            return Err(StepError::new(
                format!("{id} ran without an error, and yet it is not done"),
                "what it should have changed was looked at afterwards and is not there",
                "See the log of the step: landfall log HOST STEP",
            ));
        }
    };
    finish(cx, id, &evidence, started)?;
    crash_points::point(id, Boundary::Finished);
    Ok((Ending::Applied, evidence))
}

fn finish(
    cx: &mut Context,
    step: StepId,
    evidence: &Evidence,
    started: Instant,
) -> Result<(), StepError> {
    let seconds = started.elapsed().as_secs_f64();
    cx.memory.journal.append(Entry::Finished { step, evidence: evidence.clone(), seconds })?;
    Ok(())
}

/// Whatever was running when the user interrupted, it is no failure to explain, and what it
/// said is no finding.
fn plainly(error: StepError) -> StepError {
    if exec::interrupted() || error.exit == Exit::Interrupted { interrupted() } else { error }
}

fn interrupted() -> StepError {
    StepError::new(
        "interrupted",
        "what was done stays done",
        "Run the same command again to go on.",
    )
    .exit(Exit::Interrupted)
}

fn fail(cx: &mut Context, step: StepId, error: &StepError, seconds: f64) {
    let StepError { what, why, hint, .. } = error.clone();
    tracing::error!(%step, what, why, "failed");
    cx.events.emit(Event::StepFailed {
        what: what.clone(),
        why: why.clone(),
        hint: hint.clone(),
        seconds,
    });
    let entry = Entry::Failed { step, what, why, hint, seconds };
    if let Err(error) = cx.memory.journal.append(entry) {
        cx.events.warn(error.to_string());
    }
}

fn stop_if_interrupted() -> Result<(), StepError> {
    if exec::interrupted() { Err(interrupted()) } else { Ok(()) }
}
