//! `landfall secrets remove-host`: out of the rules and files, and shown to be out.

use std::io::Write;

use super::change::write;
use super::{RemoveHostArgs, Surroundings, config_of, operator, say};
use crate::cli::keys;
use crate::config::SecretsRepo;
use crate::error::{Exit, StepError};
use crate::sops::change;
use crate::sops::change::EditSettings;
use crate::sops::proof::{prove_removed, prove_shut_out};

pub fn run(
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
    if let Some(own) = own {
        let paths: Vec<_> = files.iter().map(|file| file.path.clone()).collect();
        prove_shut_out(&own, &paths)?;
        say(out, &format!("Tried: the private key opens none of the {} file(s).", paths.len()))?;
    }
    Ok(Exit::Done)
}
