//! Step 2: the target's final keys exist, on the source, before anything refers to them.

pub(crate) mod run_keys;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::context::Context;
use crate::error::StepError;

use super::secrets::{home_manager, stored};
use crate::run::facts::StepFacts;
use crate::run::step::{Effect, Evidence, Machine, Status, StepId};
use crate::secret::age::{HostKeyPair, Identity as AgeIdentity};
use crate::steps::Step;
use crate::steps::secrets;

pub(crate) struct IdentityStep;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IdentityOutput {
    /// Of the host key that the installed system will show.
    fingerprint: String,
    /// What the secrets are encrypted for; none where a key is kept that never left its machine.
    pub(crate) recipient: Option<String>,
}

impl StepFacts for IdentityOutput {
    const STEP: StepId = StepId::Identity;
}

impl Step for IdentityStep {
    fn id(&self) -> StepId {
        StepId::Identity
    }

    fn effects(&self, _cx: &Context) -> &'static [Effect] {
        &[Effect {
            machine: Machine::Source,
            change: "makes or restores the SSH host key, in the run's private folder",
            reversible: true,
        }]
    }

    fn is_groundwork(&self) -> bool {
        true
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        let keys = cx.keys();
        if let Some(kept) = keys.kept() {
            let fingerprint = kept.fingerprint();
            let summary = format!("{fingerprint}, kept");
            let output = IdentityOutput { fingerprint, recipient: None };
            return Ok(Status::Done(Evidence::of(summary, &output)?));
        }
        let Some(public) = keys.public() else { return Ok(Status::Ready) };
        // Once the system is installed, the private half may be gone from here; before
        // that, another key under the same name would be a lie to everybody who has the first.
        if !keys.has_private() {
            return Ok(match cx.finished(StepId::Identity) {
                Some(evidence) if cx.finished(StepId::Install).is_some() => {
                    Status::Done(evidence.clone())
                }
                _ => Status::Blocked(StepError::new(
                    "the private half of the host key is gone",
                    format!("from {}", cx.dir.display()),
                    "Forget the run and begin anew: landfall abandon HOST",
                )),
            });
        }
        let pair = keys.pair()?;
        if pair.fingerprint() != public.fingerprint() {
            return Ok(Status::Blocked(StepError::new(
                "the halves of the host key do not belong together",
                format!("in {}", cx.dir.display()),
                "Forget the run and begin anew: landfall abandon HOST",
            )));
        }
        if needs_initrd_key(cx)? && cx.keys().initrd().is_none() {
            return Ok(Status::Ready);
        }
        if home_manager::with_file(cx)?.is_some() && keys.user_age().is_none() {
            return Ok(Status::Ready);
        }
        let recipient = Some(pair.recipient()?.to_string());
        let output = IdentityOutput { fingerprint: public.fingerprint(), recipient };
        Ok(Status::Done(Evidence::of(public.fingerprint(), &output)?))
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        if cx.config.installation.kept_keys.is_some() {
            return cx.keys().keep(&cx.target()?.host_key);
        }
        let comment = format!("root@{}", cx.config.host);
        if !cx.keys().is_prepared() {
            let given = given_key(cx)?;
            let known = match &given {
                Some(path) => Some(run_keys::read_given(path)?),
                None => stored(cx)?,
            };
            if let Some(key) = known.as_ref().filter(|_| given.is_none()) {
                cx.events.note(format!("the host keeps its key: {} is stored", key.fingerprint()));
            }
            cx.keys().prepare(&comment, known)?;
        }
        if let Some(home) = home_manager::with_file(cx)? {
            let at = run_keys::stored_user_place(&cx.config.host, &home.user);
            let stored = stored::value(cx, &at)?;
            let stored = stored.and_then(|text| AgeIdentity::parse(text.expose_str()?).ok());
            cx.keys().prepare_user_age(stored)?;
        }
        if needs_initrd_key(cx)? {
            cx.keys().prepare_initrd(&format!("initrd@{}", cx.config.host))?;
        }
        Ok(())
    }
}

/// The key that the user gives, by its own flag or among the extra files.
fn given_key(cx: &Context) -> Result<Option<PathBuf>, StepError> {
    if let Some(file) = &cx.config.host_key {
        return Ok(Some(file.clone()));
    }
    let place = cx.facts()?.full.ed25519_host_key();
    Ok(place.and_then(|path| cx.config.installation.extra_file(path)))
}

/// The host's key as the secrets repository keeps it; none where it keeps none.
pub(crate) fn stored(cx: &Context) -> Result<Option<HostKeyPair>, StepError> {
    if cx.config.secrets.is_none() {
        return Ok(None);
    }
    let place = secrets::place(cx)?;
    place.look(&place.base()?, |root| {
        let secrets = secrets::secrets_in(cx, &place, root)?;
        stored::host_key(cx, &secrets)
    })
}

fn needs_initrd_key(cx: &Context) -> Result<bool, StepError> {
    Ok(!cx.facts()?.full.initrd_host_keys.is_empty())
}
