//! What a host's configuration reads, evaluated from the flake.

use std::path::{Path, PathBuf};

use super::Surroundings;
use crate::cli::args::JourneyArgs;
use crate::cli::args::into_config::host_config;
use crate::config::detect;
use crate::config::{ConfigRepo, SecretsRepo};
use crate::error::{Exit, StepError};
use crate::facts::repository;
use crate::facts::{HostFacts, SecretFact};
use crate::nix::Nix;
use crate::secret::private_temp_dir;
use crate::sops::change::repo::in_checkout;
use crate::sops::file::format::Format;
use crate::sops::proof::Need;

/// What the host's configuration reads, evaluated from the flake.
pub(crate) fn needs(
    host: &str,
    at: &Surroundings<'_>,
    repo: &SecretsRepo,
) -> Result<Vec<Need>, StepError> {
    facts_of(host, at, repo)?.secrets.iter().map(|secret| need(secret, repo)).collect()
}

fn facts_of(host: &str, at: &Surroundings<'_>, repo: &SecretsRepo) -> Result<HostFacts, StepError> {
    let place = reader_of(repo, at)?;
    let config = host_config(&place, &JourneyArgs::of_host(host))?;
    let dir = private_temp_dir(&std::env::temp_dir()).map_err(|error| {
        StepError::new(
            "there is no room for temporary files",
            error.to_string(),
            "Set TMPDIR to another folder.",
        )
    })?;
    let nix = Nix::find(config.nix.clone())?;
    let evaluated = repository::evaluate(&config, &nix, dir.path()).map_err(|mut error| {
        if place.dir == repo.dir {
            // Secrets may have a flake of their own, which configures no host.
            error.hint.push_str(&format!(" {ELSEWHERE}"));
        }
        error
    });
    Ok(evaluated?.full)
}

const ELSEWHERE: &str = "If the configuration lies elsewhere, run the same command there, or name it: \
     landfall -C ../nix-config secrets …";

/// The configuration that reads these secrets: the one here, else the one beside them.
fn reader_of(repo: &SecretsRepo, at: &Surroundings<'_>) -> Result<ConfigRepo, StepError> {
    let here = ConfigRepo::find(at.directory, at.settings);
    match here {
        Ok(place) if place.dir != repo.dir => return Ok(place),
        Err(error) if at.settings.is_some() => return Err(error.into()),
        _ => {}
    }
    let mut beside = detect::readers_beside(&repo.dir);
    match (here, beside.len()) {
        (_, 1) => Ok(ConfigRepo::find(Some(&beside.remove(0)), None)?),
        // The secrets lie in the configuration itself.
        (Ok(place), _) => Ok(place),
        (Err(_), found) => Err(StepError::new(
            format!("the configuration that reads {} was not found", repo.dir.display()),
            match found {
                0 => "no folder beside it has a flake with an input of its name".to_owned(),
                _ => format!(
                    "it could be any of {}",
                    beside
                        .iter()
                        .map(|dir| dir.display().to_string())
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            },
            ELSEWHERE,
        )
        .exit(Exit::Usage)),
    }
}

fn need(secret: &SecretFact, repo: &SecretsRepo) -> Result<Need, StepError> {
    let whole = secret.key.is_empty() || secret.format != "yaml" && secret.format != "json";
    let key = if whole { Vec::new() } else { secret.key.split('/').map(str::to_owned).collect() };
    Ok(Need {
        name: secret.name.clone(),
        file: in_checkout(Path::new(&secret.sops_file), &repo.dir)?,
        format: Format::of_name(&secret.format).unwrap_or(Format::Binary),
        key,
    })
}

/// Where the host's configuration expects the key: the secret that becomes the
/// file in which sops looks for it.
pub(crate) fn place_of_user_key(
    user: &str,
    host: &str,
    at: &Surroundings<'_>,
    repo: &SecretsRepo,
) -> Result<(PathBuf, Vec<String>), StepError> {
    let facts = facts_of(host, at, repo)?;
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
