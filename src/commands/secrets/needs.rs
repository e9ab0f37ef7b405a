//! What a host's configuration reads, evaluated from the flake.

use std::path::{Path, PathBuf};

use clap::Parser;

use super::Surroundings;
use crate::cli::Journey;
use crate::config::{Config, Place, SecretsRepo};
use crate::error::{Exit, StepError};
use crate::facts::{HostFacts, SecretFact};
use crate::scratch;
use crate::secret::private_temp_dir;
use crate::sops::format::Format;
use crate::sops::proof::Need;
use crate::sops::repo::in_checkout;

/// A journey of which only the host is known.
#[derive(Debug, Parser)]
struct OfHost {
    #[command(flatten)]
    journey: Journey,
}

/// What the host's configuration reads, evaluated from the flake.
pub fn needs(
    host: &str,
    at: &Surroundings<'_>,
    repo: &SecretsRepo,
) -> Result<Vec<Need>, StepError> {
    facts_of(host, at)?.secrets.iter().map(|secret| need(secret, repo)).collect()
}

fn facts_of(host: &str, at: &Surroundings<'_>) -> Result<HostFacts, StepError> {
    let place = Place::find(at.directory, at.settings)?;
    let of_host = OfHost::try_parse_from(["landfall", host]).map_err(|error| {
        StepError::new(format!("{host} is not a host's name"), error.to_string(), "Name a host.")
            .exit(Exit::Usage)
    })?;
    let config = Config::load(&place, &of_host.journey)?;
    let dir = private_temp_dir(&std::env::temp_dir()).map_err(|error| {
        StepError::new(
            "there is no room for temporary files",
            error.to_string(),
            "Set TMPDIR to another folder.",
        )
    })?;
    Ok(scratch::evaluate(&config, dir.path())?.full)
}

fn need(secret: &SecretFact, repo: &SecretsRepo) -> Result<Need, StepError> {
    let whole = secret.key.is_empty() || secret.format != "yaml" && secret.format != "json";
    let key = if whole { Vec::new() } else { secret.key.split('/').map(str::to_owned).collect() };
    let file = in_checkout(Path::new(&secret.sops_file), &repo.dir);
    Ok(Need {
        name: secret.name.clone(),
        file: file.ok_or_else(|| {
            StepError::new(
                format!("the secrets file {} is not in {}", secret.sops_file, repo.dir.display()),
                "the configuration reads it from elsewhere",
                "Set `secrets` in landfall.toml to the checkout that holds it.",
            )
            .exit(Exit::Usage)
        })?,
        format: Format::of_name(&secret.format).unwrap_or(Format::Binary),
        key,
    })
}

/// Where the host's configuration expects the key: the secret that becomes the
/// file in which sops looks for it.
pub fn place_of_user_key(
    user: &str,
    host: &str,
    at: &Surroundings<'_>,
    repo: &SecretsRepo,
) -> Result<(PathBuf, Vec<String>), StepError> {
    let facts = facts_of(host, at)?;
    let homes: Vec<&str> = facts
        .users
        .iter()
        .filter(|known| known.name == user)
        .map(|known| known.home.as_str())
        .collect();
    let expected = facts.secrets.iter().find(|secret| {
        let below_home = homes.iter().any(|home| Path::new(&secret.path).starts_with(home));
        below_home && secret.path.ends_with("sops/age/keys.txt")
    });
    let secret = expected.ok_or_else(|| {
        StepError::new(
            format!("the configuration of {host} expects no age key of {user}"),
            "no secret of it becomes ~/.config/sops/age/keys.txt of that user",
            "Name the place: --file FILE --path KEY/IN/IT",
        )
        .exit(Exit::Usage)
    })?;
    let need = need(secret, repo)?;
    Ok((need.file, need.key))
}
