//! What the user puts onto the new system beside the closure: files of `--extra-files`,
//! their owners, and host keys of the running system that stay those of the machine.
//!
//! They go there before the boot loader, which may read some of them into the initrd.

use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::config::installation::{Installation, KeptKeys, Owner};
use crate::error::{Exit, StepError};
use crate::exec::Cmd;
use crate::steps::context::Context;
use crate::target::NEW_ROOT;

/// Extra files are small beside a closure, but lines are slow.
const DEADLINE: Duration = Duration::from_secs(60 * 60);

/// Unpacks an archive from standard input below $1. Folders that are there already keep
/// their mode and owner: those of the archive are somebody's on another machine.
const UNPACK: &str = r#"exec tar --extract --file=- --directory="$1" --no-same-owner --preserve-permissions --no-overwrite-dir --numeric-owner"#;

/// Gives $2… (pairs of path and owner) below $1 away, never what links lead to.
const CHOWN: &str = r#"
set -eu
root=$1; shift
while [ $# -gt 0 ]; do
  real=$(readlink -f -- "$root$1") || { echo "$1 is not on the new system" >&2; exit 1; }
  case $real in
    "$root"/*) ;;
    *) echo "$1 leads out of the new system" >&2; exit 1 ;;
  esac
  [ -e "$real" ] || { echo "$1 is not on the new system" >&2; exit 1; }
  chown -R -h -- "$2" "$real"
  shift 2
done
"#;

/// Copies host keys that are at $1, $3, … to $2, $4, …, with their public halves.
const KEEP_KEYS: &str = r#"
set -eu
umask 077
while [ $# -gt 0 ]; do
  if ! [ -r "$1" ]; then
    # sshd makes those of other kinds anew; this one it must show.
    case $1 in
      *_ed25519_key) echo "the running system has no $1" >&2; exit 1 ;;
      *) shift 2; continue ;;
    esac
  fi
  (umask 022; mkdir -p -- "${2%/*}")
  cp -- "$1" "$2.landfall"
  chmod 0600 "$2.landfall"
  mv -f -- "$2.landfall" "$2"
  ssh-keygen -y -f "$2" > "$2.pub"
  chmod 0644 "$2.pub"
  shift 2
done
"#;

/// Prints the host keys of the running system.
const HOST_KEYS: &str =
    r#"for key in /etc/ssh/ssh_host_*_key; do [ -e "$key" ] && echo "$key"; done; true"#;

/// Whether there is anything that goes beside the closure.
pub(crate) fn wanted(cx: &Context) -> bool {
    let installation = &cx.config.installation;
    installation.extra_files.is_some()
        || !installation.owners.is_empty()
        || installation.kept_keys.is_some()
}

/// What identifies the extra files and their owners: another value has to be installed anew.
pub(crate) fn fingerprint(cx: &Context) -> Result<String, StepError> {
    let installation = &cx.config.installation;
    let mut digest = Sha256::new();
    if let Some(dir) = &installation.extra_files {
        add_tree(&mut digest, dir, dir).map_err(|error| unreadable(dir, &error))?;
    }
    digest.update(kept_and_owned(installation));
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Owners and kept keys in the words that this fingerprint has had from the first: another
/// spelling would install anew what is there.
fn kept_and_owned(installation: &Installation) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.escape_default());
    let owner = |owner: &Owner| {
        format!("Owner {{ path: {}, ids: {} }}", quoted(&owner.path), quoted(&owner.ids))
    };
    let owners: Vec<String> = installation.owners.iter().map(owner).collect();
    let kept = match &installation.kept_keys {
        None => "None".to_owned(),
        Some(KeptKeys::AsConfigured) => "Some(AsConfigured)".to_owned(),
        Some(KeptKeys::In(dir)) => format!("Some(In({}))", quoted(dir)),
    };
    format!("[{}]{kept}", owners.join(", "))
}

fn add_tree(digest: &mut Sha256, root: &Path, dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut entries = std::fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let meta = std::fs::symlink_metadata(&path)?;
        let name = path.strip_prefix(root).unwrap_or(&path);
        digest.update(format!(
            "\0{}\0{:o}\0{}\0",
            name.display(),
            meta.permissions().mode(),
            meta.len()
        ));
        if meta.is_dir() {
            add_tree(digest, root, &path)?;
        } else if meta.is_file() {
            std::io::copy(&mut std::fs::File::open(&path)?, digest)?;
        } else {
            digest.update(std::fs::read_link(&path)?.as_os_str().as_encoded_bytes());
        }
    }
    Ok(())
}

fn unreadable(dir: &Path, error: &std::io::Error) -> StepError {
    StepError::new(
        format!("the extra files in {} cannot be read", dir.display()),
        error.to_string(),
        "Make them readable for you, then run the same command again.",
    )
    .exit(Exit::Usage)
}

/// Copies the extra files to the new system; they are root's there.
pub(crate) fn copy(cx: &Context) -> Result<(), StepError> {
    let Some(dir) = &cx.config.installation.extra_files else { return Ok(()) };
    // Through a private file, not through memory: the files may be large, and secret.
    let archive =
        tempfile::NamedTempFile::new_in(&cx.dir).map_err(|error| unreadable(&cx.dir, &error))?;
    let names = std::fs::read_dir(dir)
        .and_then(|entries| {
            entries.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>, _>>()
        })
        .map_err(|error| unreadable(dir, &error))?;
    if names.is_empty() {
        return Ok(());
    }
    Cmd::new("tar")
        .args(["--create", "--file"])
        .arg(archive.path())
        .arg("--directory")
        .arg(dir)
        .arg("--")
        .args(&names)
        .run()
        .map_err(|error| StepError::from(error).doing("the extra files could not be packed"))?;
    cx.target()?
        .session
        .root_script_with_stdin(UNPACK, &[NEW_ROOT])
        .stdin_file(archive.path())
        .deadline(DEADLINE)
        .run()
        .map_err(|error| StepError::from(error).doing("the extra files could not be copied"))?;
    Ok(())
}

/// Gives paths of the new system to their owners.
pub(crate) fn give_away(cx: &Context) -> Result<(), StepError> {
    let owners = &cx.config.installation.owners;
    if owners.is_empty() {
        return Ok(());
    }
    let mut args = vec![NEW_ROOT];
    args.extend(owners.iter().flat_map(|owner| [owner.path.as_str(), owner.ids.as_str()]));
    cx.target()?
        .session
        .root_script(CHOWN, &args)
        .deadline(DEADLINE)
        .run()
        .map_err(|error| StepError::from(error).doing("--chown failed on the target"))?;
    Ok(())
}

/// Copies the running system's host keys to where they are to be; they never leave the target.
pub(crate) fn keep_host_keys(cx: &Context) -> Result<(), StepError> {
    let session = &cx.target()?.session;
    let mut pairs: Vec<(String, String)> = Vec::new();
    match &cx.config.installation.kept_keys {
        None => return Ok(()),
        Some(KeptKeys::AsConfigured) => {
            for key in &cx.facts()?.first().host_keys {
                let from = format!("/etc/ssh/ssh_host_{}_key", key.kind);
                pairs.push((from, format!("{NEW_ROOT}{}", key.path)));
            }
        }
        Some(KeptKeys::In(dir)) => {
            let found = session.root_script(HOST_KEYS, &[]).read()?;
            for from in found.lines() {
                let name = from.rsplit('/').next().unwrap_or(from);
                pairs.push((from.to_owned(), format!("{NEW_ROOT}{dir}/{name}")));
            }
        }
    }
    let args: Vec<&str> =
        pairs.iter().flat_map(|(from, to)| [from.as_str(), to.as_str()]).collect();
    session
        .root_script(KEEP_KEYS, &args)
        .run()
        .map_err(|error| StepError::from(error).doing("the host keys could not be kept"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_and_kept_keys_have_the_words_that_journals_know() {
        let mut installation = Installation::default();
        assert_eq!(kept_and_owned(&installation), "[]None");
        let owner = |path: &str| Owner { path: path.into(), ids: "1000:100".into() };
        installation.owners = vec![owner("/home/anna"), owner("/a b")];
        installation.kept_keys = Some(KeptKeys::In("/persist/ssh".into()));
        assert_eq!(
            kept_and_owned(&installation),
            "[Owner { path: \"/home/anna\", ids: \"1000:100\" }, \
             Owner { path: \"/a b\", ids: \"1000:100\" }]Some(In(\"/persist/ssh\"))"
        );
        installation.kept_keys = Some(KeptKeys::AsConfigured);
        assert!(kept_and_owned(&installation).ends_with("]Some(AsConfigured)"));
    }
}
