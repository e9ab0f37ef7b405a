//! Running disko's scripts on the target, with the passphrases and keys that they read.
//!
//! Those lie on the installer only while a script runs, in files that a process there
//! removes when it ends or its connection does.

use std::collections::BTreeMap;
use std::time::Duration;

use super::passphrases;
use crate::error::{Exit, StepError};
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
pub fn run(cx: &Context, script: &StorePath, erases: bool) -> Result<(), StepError> {
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
    let facts = cx.facts()?.first();
    let mut files: BTreeMap<String, Secret> = BTreeMap::new();
    let given = passphrases::disk_keys(cx)?;
    for volume in facts.luks() {
        if let Some(file) = facts.passphrase_file(volume) {
            let passphrase = cx
                .memory
                .answers
                .passphrases
                .get(&volume.name)
                .ok_or_else(|| no_passphrase(&volume.name))?
                .clone();
            match files.get(file) {
                Some(other) if other.expose() != passphrase.expose() => {
                    return Err(one_file_for_two(file));
                }
                _ => drop(files.insert(file.to_owned(), passphrase)),
            }
        }
        for file in facts.key_files(volume) {
            // The user's own key of that place comes below.
            if given.iter().any(|(remote, _)| *remote == file.path) {
                continue;
            }
            if erases {
                cx.keys().prepare_luks_key(&file.path)?;
            }
            let key = cx.keys().luks_key(&file.path);
            files.insert(file.path.clone(), key.ok_or_else(|| no_key_file(&file.path))?);
        }
    }
    files.extend(given);
    Ok(files)
}

fn no_passphrase(volume: &str) -> StepError {
    StepError::new(
        format!("there is no passphrase for {volume}"),
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

fn one_file_for_two(file: &str) -> StepError {
    StepError::new(
        format!("two encrypted volumes read {file}, and have different passphrases"),
        "disko would give both the same",
        "Give each volume a passwordFile of its own in the layout, or both one passphrase.",
    )
    .exit(Exit::Usage)
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
