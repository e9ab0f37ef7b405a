//! Values that landfall itself keeps in a secrets repo: private host keys, passphrases.
//!
//! They are for the people who administer the repo alone. The file has a rule in
//! which no host is, made where there is none, and a value is written only where the
//! rules encrypt it. It reaches sops by standard input and is in the clear in memory
//! alone. Reading needs no sops.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::EditSettings;
use super::error::SopsError;
use super::rewrap::read_encrypted;
use super::sops_yaml::SopsConfig;
use crate::error::{Advice, Exit};
use crate::secret::Secret;
use crate::secret::age::Recipient;
use crate::sops::access::{FileKey, Gain, Grants, name_of};
use crate::sops::change;
use crate::sops::file::format::Format;
use crate::sops::file::{EncryptedFile, FileError};
use crate::sops::inside::Inside;
use crate::sops::listing::{Listed, Listing};
use crate::sops::program::{Reach, SopsProgram, SopsProgramError};
use crate::sops::proof::identities::Identities;
use crate::sops::rules::anchors::known_hosts;
use crate::sops::rules::hosts;
use crate::sops::rules::hosts::Role;
use crate::sops::rules::new_rule::regex_for;
use crate::sops::rules::{Rule, Rules};

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{file} falls to {rule}, which holds for hosts too")]
    ForHosts { file: PathBuf, rule: String, people: Vec<String> },
    #[error("none of your identities is an age recipient that .sops.yaml knows")]
    NoPerson { file: PathBuf },
    #[error("the rules leave {} of {} in the clear", .key.join("/"), .file.display())]
    Clear { file: PathBuf, key: Vec<String> },
    #[error("{}: {} is a value, but a map is expected there", .file.display(), .key)]
    NotAMap { file: PathBuf, key: String },
    #[error(transparent)]
    Sops(#[from] SopsError),
}

impl Advice for StoreError {
    fn hint(&self) -> String {
        match self {
            Self::ForHosts { file, people, .. } => format!(
                "Give it a rule of its own, first in creation_rules: path_regex: {} with key_groups: \
                 [{{age: [{}]}}]",
                regex_for(&file.to_string_lossy()),
                people.join(", ")
            ),
            Self::NoPerson { file } => format!(
                "Give it a rule of its own, first in creation_rules: path_regex: {}, with the keys \
                 of those who may read it.",
                regex_for(&file.to_string_lossy())
            ),
            Self::Clear { .. } => {
                "Take encrypted_regex and the like out of its rule in .sops.yaml.".into()
            }
            Self::NotAMap { .. } => "Name another place for it.".into(),
            Self::Sops(error) => error.hint(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Sops(error) => error.exit(),
            _ => Exit::Usage,
        }
    }
}

/// The value at `key` in the encrypted file at `path`; none where there is none.
pub(crate) fn read(
    path: &Path,
    key: &[&str],
    identities: &Identities,
) -> Result<Option<Secret>, SopsError> {
    if !path.exists() {
        return Ok(None);
    }
    let failed = |source| SopsError::File {
        path: path.to_owned(),
        source: Box::new(source),
        searched: identities.searched().to_vec(),
    };
    let Some((text, format)) = read_encrypted(path)? else {
        return Err(failed(FileError::NotEncrypted));
    };
    let file = EncryptedFile::parse(&text, format).map_err(failed)?;
    value(path, &file, key, identities)
}

/// The value at `key` of a file that was read from `path`. Where no identity that can be used
/// here opens it, sops is asked, which knows of agents, tokens and passphrases.
pub(crate) fn value(
    path: &Path,
    file: &EncryptedFile<'_>,
    key: &[&str],
    identities: &Identities,
) -> Result<Option<Secret>, SopsError> {
    let failed = |source| SopsError::File {
        path: path.to_owned(),
        source: Box::new(source),
        searched: identities.searched().to_vec(),
    };
    let native =
        file.data_key(&identities.as_age()).and_then(|data_key| file.value(&data_key, key));
    match native {
        Err(FileError::NeedsSops(_) | FileError::NoIdentity { .. })
            if matches!(file.is_value(key), Ok(false)) =>
        {
            Ok(None)
        }
        Err(source @ (FileError::NeedsSops(_) | FileError::NoIdentity { .. })) => {
            let sops = SopsProgram::require();
            let asked = sops.and_then(|sops| sops.value(path, file.format, key, identities));
            asked.map(Some).map_err(|_| failed(source))
        }
        native => native.map_err(failed),
    }
}

/// Writes `value` to `key` in `file` (below the folder of `.sops.yaml`), for people alone:
/// none of `never`, and no host. Rules and files are written at once; this belongs into
/// a private tree.
///
/// A file that is made has no readers yet whom people have agreed to: you, and whoever
/// reads every file that is there, may read it; anybody else that a rule names must be
/// granted that.
#[allow(clippy::too_many_arguments)]
pub(crate) fn write(
    dir: &Path,
    sops_yaml: &Path,
    file: &Path,
    key: &[&str],
    value: &Secret,
    never: &[&str],
    identities: &Identities,
    grants: &Grants,
) -> Result<(), StoreError> {
    let config = SopsConfig::read(dir, sops_yaml)?;
    let path = Inside::of(&config.dir).real_or_new(&config.dir.join(file));
    let path = path.map_err(SopsError::from)?;
    // A file that is there has its readers.
    if !has_rule(&config, file, never)? && !path.exists() {
        make_rule(dir, sops_yaml, &config, file, identities, grants)?;
    }
    let config = SopsConfig::read(dir, sops_yaml)?;
    if !has_rule(&config, file, never)? {
        return Err(for_hosts(&config, file, identities)?);
    }
    let format = Format::of_path(file);
    if let Some(text) = existing(&path)? {
        let parsed = EncryptedFile::parse(&text, format).map_err(|source| at(&path, source))?;
        if let Some(depth) = parsed.leaf_on_the_way(key).map_err(|source| at(&path, source))? {
            return Err(StoreError::NotAMap { file: file.into(), key: key[..depth].join("/") });
        }
    }
    let after = by_sops(&config, &path, format, key, value, identities)?;
    let leaked = |line: &str| line.len() > 5 && !line.starts_with("-----") && after.contains(line);
    if value.expose_str().unwrap_or_default().lines().any(leaked) {
        let key = key.iter().map(|part| (*part).to_owned()).collect();
        return Err(StoreError::Clear { file: file.into(), key });
    }
    if !path.exists() {
        let gains = readers_nobody_knows(&config, dir, file, &after, identities)?;
        grants.admit(gains).map_err(SopsError::Ungranted)?;
    }
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    written
        .and_then(|()| std::fs::write(&path, after))
        .map_err(|source| SopsError::Read { path, source })?;
    Ok(())
}

/// Who could open a new file that neither runs this nor reads every other file.
fn readers_nobody_knows(
    config: &SopsConfig<'_>,
    dir: &Path,
    file: &Path,
    after: &str,
    identities: &Identities,
) -> Result<Vec<Gain>, SopsError> {
    let mut agreed: Option<BTreeSet<FileKey>> = None;
    for Listed { path, .. } in Listing::of(dir, &config.dir)?.files {
        let Some((text, format)) = read_encrypted(&path)? else { continue };
        let parsed = EncryptedFile::parse(&text, format).map_err(|source| at(&path, source))?;
        let keys: BTreeSet<FileKey> =
            parsed.metadata.access().keys().into_iter().cloned().collect();
        agreed = Some(match agreed {
            Some(known) => known.intersection(&keys).cloned().collect(),
            None => keys,
        });
    }
    let (agreed, own) = (agreed.unwrap_or_default(), identities.recipients());
    let parsed =
        EncryptedFile::parse(after, Format::of_path(file)).map_err(|source| at(file, source))?;
    let rules = config.rules()?;
    let access = parsed.metadata.access();
    let unknown =
        access.keys().into_iter().filter(|key| !agreed.contains(key) && !own.contains(&key.id));
    let gains = unknown.map(|key| Gain {
        file: file.display().to_string(),
        key: key.clone(),
        name: name_of(&rules, &key.id).map(str::to_owned),
    });
    Ok(gains.collect())
}

fn at(path: &Path, source: FileError) -> SopsError {
    SopsError::File { path: path.to_owned(), source: Box::new(source), searched: Vec::new() }
}

fn existing(path: &Path) -> Result<Option<String>, SopsError> {
    match path.exists() {
        true => Ok(read_encrypted(path)?.map(|(text, _)| text)),
        false => Ok(None),
    }
}

/// Whether a rule that is no catch-all holds for the file, and for no host.
fn has_rule(config: &SopsConfig<'_>, file: &Path, never: &[&str]) -> Result<bool, SopsError> {
    let rules = config.rules()?;
    let rule = rules.rule_for(file).map_err(|source| config.rules_error(source))?;
    let Some(rule) = rule.filter(|rule| !rule.is_catch_all()) else { return Ok(false) };
    let hosts = hosts(&rules);
    let is_host = |key: &&str| hosts.contains(key) || never.contains(key);
    Ok(!rule.recipients().iter().any(is_host))
}

fn hosts<'r>(rules: &'r Rules<'_>) -> Vec<&'r str> {
    let people = hosts::keys_of(rules, Role::Person);
    let known = known_hosts(rules, "").into_iter().filter(|key| !people.contains(key));
    known.chain(hosts::keys_of(rules, Role::Host)).collect()
}

/// A rule for the folder of the file, for whoever runs this and the other people.
fn make_rule(
    dir: &Path,
    sops_yaml: &Path,
    config: &SopsConfig<'_>,
    file: &Path,
    identities: &Identities,
    grants: &Grants,
) -> Result<(), StoreError> {
    let rules = config.rules()?;
    let own = identities.recipients();
    let no_person = || StoreError::NoPerson { file: file.into() };
    let (recipient, entry) = own
        .iter()
        .find_map(|own| Some((own, hosts::with_key(&rules, own)?)))
        .ok_or_else(no_person)?;
    let settings = EditSettings {
        role: Role::Person,
        anchor: entry.anchor_name().map(ToOwned::to_owned),
        rules: vec![regex_for(&file.to_string_lossy())],
        old_recipient: Some(recipient.clone()),
        allow_dirty: true,
        ..EditSettings::default()
    };
    let recipient = Recipient::parse(recipient).map_err(|_| no_person())?;
    let change =
        change::plan_add_host(dir, sops_yaml, "operator", &recipient, &[], &settings, identities)?;
    change::commit(&change, grants)?;
    Ok(())
}

fn for_hosts(
    config: &SopsConfig<'_>,
    file: &Path,
    identities: &Identities,
) -> Result<StoreError, SopsError> {
    let rules = config.rules()?;
    let rule = rules.rule_for(file).map_err(|source| config.rules_error(source))?;
    let rule = rule.as_ref().map_or_else(|| "no rule".into(), Rule::name);
    Ok(StoreError::ForHosts { file: file.into(), rule, people: identities.recipients() })
}

/// The encrypted text of the file with the value in it.
fn by_sops(
    config: &SopsConfig<'_>,
    path: &Path,
    format: Format,
    key: &[&str],
    value: &Secret,
    identities: &Identities,
) -> Result<String, SopsError> {
    let run = || -> Result<Vec<u8>, SopsProgramError> {
        let sops = SopsProgram::require()?;
        if !path.exists() {
            return sops.encrypt(&config.full_path(), path, format, document(key, value));
        }
        let stage = tempfile::tempdir()?;
        let staged = stage.path().join("file");
        std::fs::copy(path, &staged)?;
        sops.set(&config.full_path(), &staged, format, key, value, identities, Reach::Operator)?;
        Ok(std::fs::read(&staged)?)
    };
    let after = run().map_err(|source| SopsError::Sops {
        path: path.to_owned(),
        source: Box::new(source),
        by_hand: format!("sops {}", path.display()),
    })?;
    Ok(String::from_utf8_lossy(&after).into_owned())
}

/// A document with nothing but the value in it, as JSON, which is YAML too.
fn document(key: &[&str], value: &Secret) -> Secret {
    let quoted = crate::sops::file::json::quoted(value.expose_str().unwrap_or_default());
    let text = key.iter().rev().fold(zeroize::Zeroizing::new(quoted), |inner, name| {
        zeroize::Zeroizing::new(format!(
            "{{{}: {}}}",
            crate::sops::file::json::quoted(name),
            *inner
        ))
    });
    Secret::from((*text).clone())
}
