//! Running disko's scripts on the target, with the passphrases and keys that they read.
//!
//! Those lie on the installer only while a script runs, in files that a process there
//! removes when it ends or its connection does.

use std::collections::BTreeMap;
use std::time::Duration;

use super::passphrases;
use crate::error::{Exit, StepError};
use crate::facts::{DiskSecret, SecretKind};
use crate::nix::StorePath;
use crate::secret::Secret;
use crate::steps::context::Context;
use crate::steps::copy;

/// Formatting a large disk with a slow key derivation takes minutes, not hours.
const FORMAT_DEADLINE: Duration = Duration::from_secs(60 * 60);

/// Runs disko with the passphrase and key files that the layout names, which live only as
/// long as this script. Standard input: for each file its length on a line, then
/// its bytes. Arguments: the number of files, the files, then the command.
const WITH_PASSPHRASES: &str = r#"
set -eu
umask 077
# A run that was killed leaves its disko at work: never two on the same disks.
exec 9> /run/landfall-disko.lock
flock -n 9 || { echo "the disko of an earlier run is still at work" >&2; exit 1; }
count=$1; shift
files=""
trap 'for f in $files; do rm -f -- "$f"; done' EXIT
trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM
while [ "$count" -gt 0 ]; do
  file=$1; shift; count=$((count - 1))
  files="$files $file"
  IFS= read -r length
  mkdir -p -- "${file%/*}"
  rm -f -- "$file"
  dd bs=1 count="$length" of="$file" status=none
  [ "$(wc -c < "$file")" -eq "$length" ] || { echo "the passphrase came incomplete" >&2; exit 1; }
done
# The folders that the layout makes, /nix among them, are for everybody.
umask 022
"$@" </dev/null
"#;

/// Brings the script to the target and runs it there.
pub(crate) fn run(cx: &Context, script: &StorePath, erases: bool) -> Result<(), StepError> {
    copy_script(cx, script)?;
    run_disko(cx, script.as_ref(), erases)
}

fn copy_script(cx: &Context, script: &StorePath) -> Result<(), StepError> {
    if cx.target_builds() {
        return Ok(()); // it was built there
    }
    let target = cx.target()?;
    copy::to_store(cx, &target.session, None, std::slice::from_ref(script))
        .map_err(|error| error.doing("disko's script could not be copied to the target"))
}

/// The files with passphrases and keys that disko reads, by their paths on the installer.
fn key_material(cx: &Context, erases: bool) -> Result<BTreeMap<String, Secret>, StepError> {
    let given = passphrases::disk_keys(cx)?;
    let mut files: BTreeMap<String, Secret> = BTreeMap::new();
    for secret in cx.facts()?.first().disk_secrets() {
        if given.iter().any(|(remote, _)| *remote == secret.path) {
            continue; // the user's own
        }
        let content = match secret.kind {
            SecretKind::Passphrase(_) => cx
                .memory
                .answers
                .passphrases
                .get(&secret.path)
                .ok_or_else(|| no_passphrase(&secret))?
                .clone(),
            _ => key_file(cx, &secret, erases)?,
        };
        files.insert(secret.path, content);
    }
    files.extend(given);
    Ok(files)
}

/// A key file of the run, made where the disks are formatted with it.
fn key_file(cx: &Context, secret: &DiskSecret, erases: bool) -> Result<Secret, StepError> {
    if secret.kept {
        return Err(not_of_this_run(secret));
    }
    if erases {
        cx.keys().prepare_luks_key(&secret.path, || random_key(&secret.kind))?;
    }
    cx.keys().luks_key(&secret.path).ok_or_else(|| no_key_file(&secret.path))
}

fn random_key(kind: &SecretKind) -> Secret {
    let text = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let key: [u8; 32] = rand::random();
    match kind {
        SecretKind::Raw => Secret::new(key.to_vec()),
        SecretKind::Hex | SecretKind::Passphrase(_) => Secret::from(text(&key)),
        SecretKind::KeyText(length) => {
            let bytes: Vec<u8> = (0..length.div_ceil(2)).map(|_| rand::random()).collect();
            Secret::from(text(&bytes))
        }
    }
}

/// A key that was made now would not open what is encrypted already.
pub(crate) fn not_of_this_run(secret: &DiskSecret) -> StepError {
    let volumes = secret.volumes.join(", ");
    StepError::new(
        format!("nothing gives the key file of {volumes}, which stays as it is"),
        format!("disko opens it with {}, on a disk with destroy = false", secret.path),
        format!("Give the key that it has: --disk-encryption-keys {} FILE", secret.path),
    )
    .exit(Exit::Usage)
}

fn no_passphrase(secret: &DiskSecret) -> StepError {
    StepError::new(
        format!("there is no passphrase for {}", secret.volumes.join(", ")),
        "",
        "Give --luks-passphrase-file FILE.",
    )
    .exit(Exit::Person)
}

fn no_key_file(path: &str) -> StepError {
    StepError::new(
        format!("the key file {path} of the encrypted disks is gone from the run's folder"),
        "without it they cannot be opened again",
        "Forget the run and begin anew: landfall abandon HOST. The disks are erased then.",
    )
}

fn run_disko(cx: &Context, script: &str, erases: bool) -> Result<(), StepError> {
    let material = key_material(cx, erases)?;
    let mut input = Vec::new();
    for content in material.values() {
        input.extend_from_slice(format!("{}\n", content.expose().len()).as_bytes());
        input.extend_from_slice(content.expose());
    }
    let files: Vec<&str> = material.keys().map(String::as_str).collect();
    let script = executable(cx, script)?;
    let count = files.len().to_string();
    let mut args = vec![count.as_str()];
    args.extend(&files);
    args.push(&script.path);
    // The older script never asks; the newer one must be told that it was asked for.
    if script.asks {
        args.push("--yes-wipe-all-disks");
    }
    cx.target()?
        .session
        .root_script_with_stdin(WITH_PASSPHRASES, &args)
        .stdin(Secret::new(input))
        .deadline(FORMAT_DEADLINE)
        .run()
        .map_err(|error| StepError::from(error).doing("disko failed on the target"))?;
    Ok(())
}

/// A script on the target.
struct Executable {
    path: String,
    asks: bool,
}

/// disko's newer builds are packages with a program in bin, the older ones a file.
fn executable(cx: &Context, path: &str) -> Result<Executable, StepError> {
    let probe = "if [ -d \"$1/bin\" ]; then set -- \"$1\"/bin/*; fi; echo \"$1\"; \
                 grep -c -e --yes-wipe-all-disks -- \"$1\" || true";
    let found = cx.target()?.session.script(probe, &[path]).read()?;
    let mut lines = found.lines();
    let path = lines.next().unwrap_or(path).to_owned();
    Ok(Executable { path, asks: lines.next().is_some_and(|count| count != "0") })
}
