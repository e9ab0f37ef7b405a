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
use crate::run::step::{Consent, Evidence, Status, StepId};
use crate::steps::Step;
use crate::steps::context::Context;

/// A step that failed, with its error.
#[derive(Debug)]
pub struct Failure {
    pub step: StepId,
    pub error: StepError,
}

/// Runs `plan` until it is done or a step fails.
pub fn run(cx: &mut Context, plan: &[Planned]) -> Result<(), Failure> {
    if is_finished(cx, plan) {
        return Ok(());
    }
    let mut asked = false;
    for planned in plan {
        let id = planned.step.id();
        let _in_log = tracing::info_span!("step", step = %id).entered();
        let events = cx.events.clone();
        cx.events = events.of(id);
        let started = Instant::now();
        let result = match &planned.skipped {
            Some(reason) => Ok((Ending::Skipped, Evidence::new(reason.clone()))),
            None if id > StepId::Identity && !std::mem::replace(&mut asked, true) => {
                ask(cx, plan).and_then(|()| advance(cx, planned.step.as_ref(), started))
            }
            None => advance(cx, planned.step.as_ref(), started),
        };
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok((ending, evidence)) => {
                cx.events.emit(Event::StepEnded { ending, evidence, seconds })
            }
            Err(error) => {
                let error = plainly(error);
                fail(cx, id, &error, seconds);
                cx.events = events;
                return Err(Failure { step: id, error });
            }
        }
        cx.events = events;
    }
    // A part of the journey, as `check` runs it, completes nothing.
    if crate::journey::is_whole(&cx.config, plan) {
        cx.journal
            .append(Entry::Completed)
            .map_err(|error| Failure { step: StepId::Retire, error: error.into() })?;
    }
    Ok(())
}

/// Whether there is nothing left to do: then nothing is checked or changed either.
fn is_finished(cx: &mut Context, plan: &[Planned]) -> bool {
    if !crate::run::journal::completed(cx.journal.lines()) {
        return false;
    }
    let left_out = |planned: &Planned| {
        planned.skipped.is_some() || matches!(planned.step.left_out(cx), Ok(Some(_)))
    };
    let settled = |planned: &&Planned| {
        left_out(planned)
            || planned.step.id() == StepId::Check
            || matches!(planned.step.observe(cx), Ok(Status::Done(_) | Status::Superseded(_)))
    };
    if !plan.iter().all(|planned| settled(&planned)) {
        return false;
    }
    for planned in plan {
        let evidence = cx.finished(planned.step.id()).cloned().unwrap_or_default();
        let ending = if left_out(planned) { Ending::Skipped } else { Ending::AlreadyDone };
        cx.events.of(planned.step.id()).emit(Event::StepEnded { ending, evidence, seconds: 0.0 });
    }
    cx.events.note("everything is as this run left it: nothing was changed");
    true
}

/// Asks everything that needs an answer, in one round before the long work: once
/// the keys are there, since what happens to the secrets depends on them.
fn ask(cx: &mut Context, plan: &[Planned]) -> Result<(), StepError> {
    for planned in plan.iter().filter(|planned| planned.skipped.is_none()) {
        let step = planned.step.as_ref();
        if cx.answers.consents.contains_key(&step.id()) {
            continue; // the command itself has answered
        }
        if step.id() > StepId::Identity
            && step.left_out(cx)?.is_none()
            && matches!(step.observe(cx), Ok(Status::Ready))
        {
            let consent = step.confirm(cx)?;
            cx.answers.consents.insert(step.id(), consent);
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
    if let Some(reason) = step.left_out(cx)? {
        return Ok((Ending::Skipped, Evidence::new(reason)));
    }
    cx.events.emit(Event::StepStarted { title: id.title().into() });
    stop_if_interrupted()?;
    match step.observe(cx)? {
        Status::Done(evidence) => {
            if cx.finished(id) != Some(&evidence) {
                finish(cx, id, &evidence, started)?;
            }
            return Ok((Ending::AlreadyDone, evidence));
        }
        Status::Superseded(reason) => return Ok((Ending::Superseded, Evidence::new(reason))),
        Status::Blocked(error) => return Err(error),
        Status::Ready if cx.finished(id).is_some() && id != StepId::Check => {
            cx.events.note(format!("{id} was done, and is open again: {}", id.title()));
        }
        Status::Ready => {}
    }
    let consent = match cx.answers.consents.get(&id) {
        Some(consent) => consent.clone(),
        // It was not ready when the questions were asked.
        None => step.confirm(cx)?,
    };
    if let Consent::Declined(meaning) = consent {
        // Whole: the table at the end has room for its beginning only.
        cx.events.note(meaning.clone());
        return Ok((Ending::Skipped, Evidence::new(meaning)));
    }
    crash_points::point(id, Boundary::BeforeStarted);
    let intention = step.intention(cx)?;
    cx.journal.append(Entry::Started { step: id, intention })?;
    crash_points::point(id, Boundary::Started);
    step.apply(cx)?;
    crash_points::point(id, Boundary::Applied);
    stop_if_interrupted()?;
    let evidence = match step.observe(cx)? {
        Status::Done(evidence) => evidence,
        Status::Blocked(error) => return Err(error),
        Status::Ready | Status::Superseded(_) => {
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
    cx.journal.append(Entry::Finished { step, evidence: evidence.clone(), seconds })?;
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
    if let Err(error) = cx.journal.append(entry) {
        cx.events.warn(error.to_string());
    }
}

fn stop_if_interrupted() -> Result<(), StepError> {
    if exec::interrupted() { Err(interrupted()) } else { Ok(()) }
}
