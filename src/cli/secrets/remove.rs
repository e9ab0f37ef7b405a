//! `landfall secrets remove-host`: out of the rules and files, and shown to be out.

use std::io::Write;
use std::path::Path;

use super::change::write;
use super::{RemoveHostArgs, Surroundings, config_of, operator, say};
use crate::cli::keys;
use crate::config::SecretsRepo;
use crate::error::{Exit, StepError};
use crate::secret::age::Recipient;
use crate::sops::change;
use crate::sops::change::EditSettings;
use crate::sops::proof::{prove_removed, prove_shut_out};
use crate::sops::rules::hosts::speaks_of;

/// Refuses a private key that is somebody else's: it would prove nothing of the host.
pub(crate) fn of_host(
    given: &Recipient,
    known: Option<&str>,
    host: &str,
    repo: &SecretsRepo,
    path: &Path,
) -> Result<(), StepError> {
    let owner = change::owner_of(&repo.dir, &config_of(repo), given.as_str())?;
    let owner = match (known, owner) {
        (Some(known), _) if known == given.as_str() => return Ok(()),
        // The key to come has the host's name too.
        (_, Some(owner)) if speaks_of(&owner, host) => return Ok(()),
        (_, Some(owner)) => owner,
        (Some(_), None) => "nobody".to_owned(),
        (None, None) => return Ok(()),
    };
    Err(StepError::new(
        format!("{} is not the key of {host}", path.display()),
        format!("{given} is {owner}'s in .sops.yaml"),
        format!("Name the private key of {host}: --key FILE"),
    )
    .exit(Exit::Usage))
}

pub(crate) fn run(
    args: &RemoveHostArgs,
    at: &Surroundings<'_>,
    repo: &SecretsRepo,
    out: &mut dyn Write,
) -> Result<Exit, StepError> {
    let own = args.key.as_ref().map(|key| keys::identity(key)).transpose()?;
    let settings = EditSettings {
        anchor: args.anchor.clone(),
        old_recipient: args.old_recipient.clone(),
        allow_dirty: args.change.allow_dirty,
        keep_data_keys: args.no_rotate,
        ..EditSettings::default()
    };
    let identities = operator();
    let change =
        change::plan_remove_host(&repo.dir, &config_of(repo), &args.host, &settings, &identities)?;
    if let (Some(path), Some(own)) = (&args.key, &own) {
        of_host(&own.recipient(), change.old_recipient.as_deref(), &args.host, repo, path)?;
    }
    if !write(&change, &args.change, at, repo, out)? {
        return Ok(Exit::Done);
    }
    let recipient = change.old_recipient.as_deref().unwrap_or_default();
    let files = change.encrypted();
    let shown = prove_removed(files, recipient, &identities, !args.no_rotate)?;
    if shown > 0 {
        let keys = if args.no_rotate { "key" } else { "key, and the data keys that it knew," };
        let opens = if args.no_rotate { "opens" } else { "open" };
        say(out, &format!("Shown: {}'s {keys} {opens} none of the {shown} file(s).", args.host))?;
    }
    if files.len() > shown {
        say(
            out,
            &format!(
                "Not shown for {} file(s), of which {} is no recipient any more: only sops opens them.",
                files.len() - shown,
                args.host
            ),
        )?;
    }
    if let Some(own) = own {
        let paths: Vec<_> = files.iter().map(|file| file.path.clone()).collect();
        prove_shut_out(&own, &paths)?;
        say(out, &format!("Tried: the private key opens none of the {} file(s).", paths.len()))?;
    }
    Ok(Exit::Done)
}
