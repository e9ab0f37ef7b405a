//! The primary user's own secrets, which home-manager's sops opens with an age key of
//! that user.
//!
//! The key is a secret of the system where the configuration makes it one (a secret whose
//! path is the key file): then it is kept there, encrypted, and the system puts it in
//! place. Else it is made with the host's keys, and the login step writes it as the user:
//! only the installed system knows who owns the home.

use std::path::PathBuf;

use super::{in_checkout, key_path, need};
use crate::config::SecretsRepo;
use crate::error::{Exit, StepError};
use crate::facts::{HomeSops, SecretFact};
use crate::secret::age::Identity;
use crate::sops::change;
use crate::sops::change::stored_value;
use crate::sops::change::user_key::{KeyPlace, plan_user_key};
use crate::sops::change::{EditSettings, Grants};
use crate::sops::proof;
use crate::sops::proof::Need;
use crate::sops::rules::hosts::Role;
use crate::steps::context::Context;

/// What the full configuration says of the primary user's sops.
pub(crate) struct Home<'a> {
    pub(crate) user: String,
    pub(crate) key_file: &'a str,
    sops: &'a HomeSops,
    /// The secret of the system that becomes the key file.
    kept: Option<&'a SecretFact>,
}

/// The primary user's sops; none where it has no secrets, or reads them by an SSH key.
pub(crate) fn of(cx: &Context) -> Result<Option<Home<'_>>, StepError> {
    if cx.config.secrets.is_none() {
        return Ok(None);
    }
    let user = cx.primary_user()?;
    let facts = &cx.facts()?.full;
    let known = facts.users.iter().find(|known| known.name == user);
    let Some(sops) = known.and_then(|user| user.sops.as_ref()) else { return Ok(None) };
    let Some(key_file) = sops.key_file.as_deref().filter(|_| !sops.secrets.is_empty()) else {
        return Ok(None);
    };
    let kept = facts.secrets.iter().find(|secret| secret.path == key_file);
    Ok(Some(Home { user, key_file, sops, kept }))
}

/// The same, where the key file is put there by this run and not by the configuration.
pub(crate) fn with_file(cx: &Context) -> Result<Option<Home<'_>>, StepError> {
    Ok(of(cx)?.filter(|home| home.kept.is_none()))
}

/// What keeps the user's secrets from opening, as far as the configuration tells.
pub(crate) fn check(cx: &Context) -> Result<(), StepError> {
    let user = cx.primary_user()?;
    let users = &cx.facts()?.full.users;
    let sops = users.iter().find(|known| known.name == user).and_then(|user| user.sops.as_ref());
    let Some(sops) = sops.filter(|sops| !sops.secrets.is_empty() && sops.key_file.is_none()) else {
        return Ok(());
    };
    let key = sops.ssh_key_paths.first().map_or("nothing", String::as_str);
    cx.events.warn(format!(
        "home-manager opens {} secrets of {user} with {key}, which landfall does not make: bring it \
         there yourself, or set home-manager.users.{user}.sops.age.keyFile",
        sops.secrets.len()
    ));
    Ok(())
}

impl Home<'_> {
    /// The name of the key in the rules.
    fn name(&self, cx: &Context) -> String {
        format!("{}_{}", self.user, cx.config.host)
    }

    fn files(&self, secrets: &SecretsRepo) -> Result<Vec<PathBuf>, StepError> {
        let files = self.sops.secrets.iter().map(|secret| in_checkout(&secret.sops_file, secrets));
        let mut files = files.collect::<Result<Vec<_>, _>>()?;
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// The user's key, where it is there already.
    fn identity(&self, cx: &Context, secrets: &SecretsRepo) -> Result<Option<Identity>, StepError> {
        let Some(kept) = self.kept else { return Ok(cx.keys().user_age()) };
        let path = in_checkout(&kept.sops_file, secrets)?;
        let key = key_path(kept);
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        let Some(value) = stored_value::read(&path, &key, cx.operator())? else { return Ok(None) };
        let text = value.expose_str().unwrap_or_default();
        Ok(text.lines().find_map(|line| Identity::parse(line).ok()))
    }

    /// Makes the key where it is kept, and its recipient one of the rules that the user's
    /// files fall to; in a private tree.
    pub(crate) fn make(
        &self,
        cx: &Context,
        secrets: &SecretsRepo,
        grants: &Grants,
        warn: &mut dyn FnMut(String),
    ) -> Result<(), StepError> {
        let rules = secrets.dir.join(&secrets.sops_config);
        if let Some(kept) = self.kept {
            let (file, key) = (in_checkout(&kept.sops_file, secrets)?, key_path(kept));
            let place = KeyPlace { file: &file, path: &key };
            let name = self.name(cx);
            let planned =
                plan_user_key(&secrets.dir, &rules, &name, &place, &settings(), cx.operator())?;
            change::commit(&planned.change, grants)?;
        }
        let change = self.plan(cx, secrets)?;
        change.warnings.iter().cloned().for_each(&mut *warn);
        if let Some(old) = &change.old_recipient {
            warn(format!(
                "{old} was the key of {} until now, and opens what git remembers; landfall secrets \
                 rotate gives the files of today new data keys",
                self.user
            ));
        }
        change::commit(&change, grants)?;
        Ok(())
    }

    fn plan(&self, cx: &Context, secrets: &SecretsRepo) -> Result<change::Change, StepError> {
        // Any key shows whether the edit is possible.
        let identity = self.identity(cx, secrets)?.unwrap_or_else(Identity::generate);
        Ok(change::plan_add_host(
            &secrets.dir,
            &secrets.dir.join(&secrets.sops_config),
            &self.name(cx),
            &identity.recipient(),
            &self.files(secrets)?,
            &settings(),
            cx.operator(),
        )?)
    }

    pub(crate) fn is_made(&self, cx: &Context, secrets: &SecretsRepo) -> Result<bool, StepError> {
        Ok(self.identity(cx, secrets)?.is_some() && self.plan(cx, secrets)?.is_empty())
    }

    /// Opens every secret of the user with the user's key alone; returns how many.
    pub(crate) fn prove(&self, cx: &Context, secrets: &SecretsRepo) -> Result<usize, StepError> {
        let identity = self.identity(cx, secrets)?.ok_or_else(|| {
            StepError::new(
                format!("{} has no age key that can be used", self.user),
                format!("{} would hold none", self.key_file),
                "Look at the value that becomes that file: it begins with AGE-SECRET-KEY-1.",
            )
            .exit(Exit::Usage)
        })?;
        let secrets = self.sops.secrets.iter().map(|secret| need(secret, secrets));
        let needs: Vec<Need> = secrets.collect::<Result<_, _>>()?;
        proof::prove(&identity, &needs)
            .map_err(|error| StepError::from(error).doing(format!("a secret of {}", self.user)))?;
        Ok(needs.len())
    }
}

fn settings() -> EditSettings {
    EditSettings { role: Role::Person, allow_dirty: true, ..EditSettings::default() }
}
