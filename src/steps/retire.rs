//! Step 16: after a reinstall, what the previous identity could open is closed.
//!
//! A host that was not known before has no previous identity. One that was is told
//! what to run by the secrets step; doing it here is not part of landfall yet.

use crate::context::Context;
use crate::error::StepError;
use crate::step::{Effect, Status, Step, StepId};

pub struct Retire;

impl Step for Retire {
    fn id(&self) -> StepId {
        StepId::Retire
    }

    fn effects(&self) -> &'static [Effect] {
        &[]
    }

    fn observe(&self, _cx: &Context) -> Result<Status, StepError> {
        Ok(Status::Superseded("data keys are rotated by hand: landfall secrets rotate".into()))
    }

    fn apply(&self, _cx: &mut Context) -> Result<(), StepError> {
        Ok(())
    }
}

/// Whether `head` is the commit of this step, which moves a lock and no more.
pub fn only_moved_the_lock(cx: &Context, head: &str) -> bool {
    cx.evidence(StepId::Retire).and_then(|evidence| evidence.fact("config")) == Some(head)
}
