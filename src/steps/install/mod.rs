//! Step 10: the keys where the configuration evaluates them, then nixos-install.
//!
//! The keys go first: the boot loader may put initrd secrets into the image it writes.

pub(crate) mod extra_files;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::context::Context;
use crate::config::installation::{DiskoMode, KeptKeys};
use crate::error::{Exit, StepError};
use crate::nix::StorePath;
use crate::run::facts::StepFacts;
use crate::run::step::{Effect, Evidence, Machine, Status, StepId};
use crate::secret::Secret;
use crate::ssh::HostKey;
use crate::steps::Step;
use crate::steps::build::first_system;
use crate::steps::disks;
use crate::target::NEW_ROOT;

pub(crate) struct Install;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct InstallOutput {
    /// What the machine will boot.
    pub(crate) system: Option<StorePath>,
    /// The fingerprint of what went there beside the closure.
    extra: Option<String>,
    /// Where the host key lies, for people.
    keys: Option<String>,
}

impl StepFacts for InstallOutput {
    const STEP: StepId = StepId::Install;
}

const INSTALL_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Standard input becomes file $1 of mode $2, whole or not at all, owned by root.
const PUT: &str = r#"
set -eu
umask 022
mkdir -p -- "${1%/*}"
umask 077
cat > "$1.landfall"
chmod "$2" "$1.landfall"
sync "$1.landfall" 2>/dev/null || sync
mv -f -- "$1.landfall" "$1"
"#;

/// Prints the profile's system, then the menu that starts it: of systemd-boot, lanzaboote,
/// GRUB, extlinux or limine. GRUB's installer writes its menu first and its state last; in
/// between come the first sectors of the disks that are given behind the root.
const INSTALLED: &str = r#"
root=$1
shift
link=$(readlink "$root/nix/var/nix/profiles/system") || exit 0
case $link in /*) ;; *) link=$(readlink "$root/nix/var/nix/profiles/$link") ;; esac
echo "$link"
for disk; do
  dd if="$disk" bs=512 count=1 2>/dev/null | grep -aq GRUB || exit 0
done
for menu in "$root"/boot/loader/entries/*.conf "$root"/efi/loader/entries/*.conf \
  "$root"/boot/efi/loader/entries/*.conf "$root"/boot/EFI/Linux/*.efi "$root"/efi/EFI/Linux/*.efi \
  "$root"/boot*/grub/grub.cfg "$root"/boot/extlinux/extlinux.conf "$root"/boot*/limine/limine.conf
do
  grep -aqsF "init=$link/init" "$menu" || continue
  case $menu in */grub.cfg) [ -s "${menu%/*}/state" ] || continue ;; esac
  echo "$menu"
  exit 0
done
"#;

impl Step for Install {
    fn id(&self) -> StepId {
        StepId::Install
    }

    fn effects(&self, _cx: &Context) -> &'static [Effect] {
        &[
            Effect {
                machine: Machine::Target,
                change: "writes the host's keys where the configuration reads them",
                reversible: true,
            },
            Effect {
                machine: Machine::Target,
                change: "runs nixos-install: system profile and boot loader",
                reversible: true,
            },
        ]
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if let Some(status) = cx.over_since_installed(StepId::Install) {
            return Ok(status);
        }
        if cx.finished(StepId::Copy).is_none() || cx.connection.target.is_none() {
            return Ok(Status::Ready);
        }
        let system = first_system(cx)?;
        let session = &cx.target()?.session;
        let grub = cx.facts()?.first().grub.as_ref();
        let disks = grub.into_iter().flat_map(|grub| &grub.devices).map(String::as_str);
        let args: Vec<&str> = [NEW_ROOT].into_iter().chain(disks).collect();
        let printed = session.root_script(INSTALLED, &args).read()?;
        let mut lines = printed.lines();
        let extra = extra_files::fingerprint(cx)?;
        let as_before = match cx.known_output::<InstallOutput>()? {
            Some(before) => before.extra.as_ref() == Some(&extra),
            None => !extra_files::wanted(cx),
        };
        let profile = lines.next() == Some(system.as_ref());
        let in_a_menu = lines.next().is_some();
        if !profile || !in_a_menu || !as_before || !keys_in_place(cx)? {
            return Ok(Status::Ready);
        }
        let keys = key_paths(cx)?.join(", ");
        let summary = format!("boot loader written, host key in {keys}");
        let (system, extra, keys) = (Some(system), Some(extra), Some(keys));
        Ok(Status::Done(Evidence::of(summary, &InstallOutput { system, extra, keys })?))
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        disks::require_mounted(cx)?;
        extra_files::copy(cx)?;
        host_keys(cx)?;
        extra_files::give_away(cx)?;
        // The boot loader's installer puts the initrd's secrets together there.
        let tmp = format!("{NEW_ROOT}/tmp");
        cx.target()?.session.root(&["mkdir", "-p", "-m", "1777", &tmp]).run()?;
        let system = first_system(cx)?.to_string();
        let argv = [
            "nixos-install",
            "--root",
            NEW_ROOT,
            "--no-root-passwd",
            "--no-channel-copy",
            "--system",
            &system,
        ];
        cx.target()?
            .session
            .root(&argv)
            .deadline(INSTALL_DEADLINE)
            .run()
            .map_err(|error| StepError::from(error).doing("nixos-install failed on the target"))?;
        cx.target()?.session.root(&["sync"]).run()?;
        let extra = Some(extra_files::fingerprint(cx)?);
        cx.produce("", &InstallOutput { extra, ..InstallOutput::default() })
    }
}

/// Where the first system and the full one read the ed25519 host key.
pub(crate) fn key_paths(cx: &Context) -> Result<Vec<String>, StepError> {
    let facts = cx.facts()?;
    let mut paths = Vec::new();
    for config in [facts.first(), &facts.full] {
        if let Some(path) = config.ed25519_host_key() {
            let path = config.stored_at(path);
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    if paths.is_empty() {
        return Err(StepError::new(
            "the configuration has no ed25519 host key",
            "services.openssh.hostKeys names none, or sshd is not enabled",
            "Enable services.openssh: landfall reaches the installed system by SSH.",
        )
        .exit(Exit::Usage));
    }
    Ok(paths)
}

/// The machine's host key: the one that it has already, or that of the run.
fn host_keys(cx: &Context) -> Result<(), StepError> {
    if cx.config.installation.kept_keys.is_some() {
        return extra_files::keep_host_keys(cx);
    }
    // A system that is repaired stays the one that its users know.
    if cx.config.host_system().is_none()
        && cx.config.installation.disko_mode == DiskoMode::Mount
        && let Some(path) = cx.facts()?.first().ed25519_host_key()
        && let Some(key) = public_half(cx, path)?
    {
        cx.events.note(format!("the host key that is on the disk is kept: {}", key.fingerprint()));
        return cx.keys().keep(&key);
    }
    put_keys(cx)
}

/// The public half of the key at `path` of the new system; none where there is no key.
fn public_half(cx: &Context, path: &str) -> Result<Option<HostKey>, StepError> {
    let file = format!("{NEW_ROOT}{path}");
    let output = cx.target()?.session.root(&["ssh-keygen", "-y", "-f", &file]).output()?;
    Ok(if output.status.success() { output.text().parse().ok() } else { None })
}

/// A file that the installed system reads.
struct Placed {
    path: String,
    mode: &'static str,
    content: Secret,
}

/// The private files that the configuration names, beside the host key.
fn other_keys(cx: &Context) -> Result<Vec<Placed>, StepError> {
    let facts = cx.facts()?;
    let (first, full) = (facts.first(), &facts.full);
    let mut placed: Vec<Placed> = Vec::new();
    let mut place = |path: String, mode, content| {
        if !placed.iter().any(|known| known.path == path) {
            placed.push(Placed { path, mode, content });
        }
    };
    for system in [first, full] {
        // The same identity in age's form: one recipient opens the secrets either way.
        if let Some(path) = system.age_key_file.as_ref().filter(|_| cx.keys().has_private()) {
            let content = cx.keys().pair()?.identity()?.key_file();
            place(system.stored_at(path), "0600", content);
        }
        if let Some(initrd) = cx.keys().initrd() {
            for path in &system.initrd_host_keys {
                place(system.stored_at(path), "0600", initrd.private_openssh()?);
            }
        }
    }
    for secret in first.disk_secrets() {
        let given = cx.config.installation.disk_keys.iter().any(|key| key.remote == secret.path);
        let content = match given {
            true => Some(cx.disk_key(&secret.path)?),
            false => cx.keys().luks_key(&secret.path),
        };
        let Some(content) = content else { continue };
        for path in &secret.installed {
            place(full.stored_at(path), "0400", content.clone());
        }
    }
    Ok(placed)
}

fn put_keys(cx: &Context) -> Result<(), StepError> {
    let pair = cx.keys().pair()?;
    let public = cx.keys().public_line()?;
    for path in key_paths(cx)? {
        put(cx, &path, "0600", pair.private_openssh()?)?;
        put(cx, &format!("{path}.pub"), "0644", Secret::new(public.clone().into_bytes()))?;
    }
    for Placed { path, mode, content } in other_keys(cx)? {
        put(cx, &path, mode, content)?;
    }
    Ok(())
}

fn put(cx: &Context, path: &str, mode: &str, content: Secret) -> Result<(), StepError> {
    cx.target()?
        .session
        .root_script_with_stdin(PUT, &[&format!("{NEW_ROOT}{path}"), mode])
        .stdin(content)
        .run()
        .map_err(|error| {
            StepError::from(error).doing(format!("{path} could not be written on the target"))
        })?;
    Ok(())
}

/// Compares public halves only: a private key is not read back over the wire. The
/// other files were written whole or not at all, on disks that this run has formatted.
fn keys_in_place(cx: &Context) -> Result<bool, StepError> {
    let Some(public) = cx.keys().public() else { return Ok(false) };
    if let Some(KeptKeys::In(dir)) = &cx.config.installation.kept_keys {
        return Ok(public_half(cx, &format!("{dir}/ssh_host_ed25519_key"))? == Some(public));
    }
    let session = &cx.target()?.session;
    for path in key_paths(cx)? {
        if public_half(cx, &path)?.as_ref() != Some(&public) {
            return Ok(false);
        }
    }
    for Placed { path, .. } in other_keys(cx)? {
        let file = format!("{NEW_ROOT}{path}");
        if !session.root(&["test", "-s", &file]).output()?.status.success() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    const SYSTEM: &str = "/nix/store/new-system";

    #[expect(clippy::disallowed_methods, reason = "a test starts what it likes")]
    fn installed(root: &Path) -> String {
        let mut sh = Command::new("sh");
        let disk = root.join("disk");
        let output = sh.args(["-c", INSTALLED, "sh"]).arg(root).arg(disk).output().unwrap();
        String::from_utf8(output.stdout).unwrap().replace(&root.display().to_string(), "")
    }

    #[test]
    fn a_boot_loader_is_there_when_its_code_and_its_menu_are() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for dir in ["nix/var/nix/profiles", "boot/grub", "boot/loader/entries"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let put = |file: &str, text: &str| fs::write(root.join(file), text).unwrap();
        assert_eq!(installed(root), "");
        let profile = root.join("nix/var/nix/profiles/system");
        std::os::unix::fs::symlink("system-1-link", &profile).unwrap();
        std::os::unix::fs::symlink(SYSTEM, profile.with_file_name("system-1-link")).unwrap();
        let nothing = format!("{SYSTEM}\n");
        assert_eq!(installed(root), nothing);

        // The code is there, as boot.img has it; the menu that starts the system is not.
        let code = [&[0xeb, 0x63, 0x90][..], b"GRUB \0Geom\0Hard Disk\0"].concat();
        fs::write(root.join("disk"), code).unwrap();
        put("boot/loader/entries/nixos-generation-1.conf", "options init=/nix/store/old/init\n");
        assert_eq!(installed(root), nothing);
        put("boot/grub/grub.cfg", &format!("linux /kernels/k init={SYSTEM}/init quiet\n"));
        assert_eq!(installed(root), nothing, "the state comes last");
        put("boot/grub/state", "grub\n2.12\n");
        assert_eq!(installed(root), format!("{nothing}/boot/grub/grub.cfg\n"));
        put("disk", "no code");
        assert_eq!(installed(root), nothing);
    }
}
