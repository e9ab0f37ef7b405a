use super::{Step, context::Context};
use crate::error::StepError;
use crate::run::step::{Effect, Evidence, Machine, Status, StepId};

/// Starts the timer that trims the disks of the installed system.
struct Trim;

/// What on the machine shows that it is done.
const SHOWN: [&str; 4] = ["systemctl", "is-active", "--quiet", "fstrim.timer"];

impl Step for Trim {
    fn id(&self) -> StepId {
        StepId::Login // a step of its own has a variant of its own, in its place in the journey
    }

    fn effects(&self, _cx: &Context) -> &'static [Effect] {
        &[Effect {
            machine: Machine::Target,
            change: "starts the timer that trims the disks",
            reversible: true,
        }]
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        let Some(target) = &cx.connection.target else { return Ok(Status::Ready) };
        let shown = target.session.root(&SHOWN).output()?;
        if shown.status.success() {
            return Ok(Status::Done(Evidence::new("fstrim.timer is active")));
        }
        Ok(Status::Ready)
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        cx.target()?.session.root(&["systemctl", "start", "fstrim.timer"]).run()?;
        Ok(())
    }
}

#[test]
fn the_example_says_what_it_changes_and_is_no_groundwork() {
    let step: Box<dyn Step> = Box::new(Trim);
    assert_eq!(step.id(), StepId::Login);
    assert!(step.lasts() && !step.is_groundwork());
}
