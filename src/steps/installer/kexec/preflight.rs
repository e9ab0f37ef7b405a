//! Whether the system on the target can be replaced.

use super::Image;
use crate::error::{Exit, StepError};
use crate::ssh::Session;
use crate::target::TargetFacts;
use crate::ui::text::size;

/// The installer in memory, beside its image.
const WORKING_MEMORY: u64 = 512 << 20;
/// Prints `name=value` lines about what decides whether a kexec can work. Arguments:
/// KiB that the image needs on disk.
const PREFLIGHT: &str = r#"
kernel() { cat "$1" 2>/dev/null || echo missing; }
printf 'loaded=%s\n' "$(kernel /sys/kernel/kexec_loaded)"
printf 'disabled=%s\n' "$(kernel /proc/sys/kernel/kexec_load_disabled)"
printf 'lockdown=%s\n' "$(sed -n 's/.*\[\(.*\)\].*/\1/p' /sys/kernel/security/lockdown 2>/dev/null)"
if command -v systemd-detect-virt >/dev/null 2>&1; then
  printf 'container=%s\n' "$(systemd-detect-virt --container 2>/dev/null)"
elif [ -e /.dockerenv ] || [ -e /run/.containerenv ]; then
  echo container=yes
fi
for tool in tar gzip cpio ip sha256sum; do
  command -v "$tool" >/dev/null 2>&1 || printf 'missing=%s\n' "$tool"
done
printf 'available_kib=%s\n' "$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)"
for dir in /root /var/tmp /tmp /run; do
  [ -w "$dir" ] || continue
  free=$(df -Pk "$dir" | awk 'NR == 2 {print $4}')
  if [ "${free:-0}" -ge "$1" ]; then printf 'folder=%s\n' "$dir"; break; fi
done
"#;

/// Whether the system on the target can be replaced, and the folder where the image fits.
pub(crate) fn preflight(
    session: &Session,
    facts: &TargetFacts,
    image: &Image,
) -> Result<String, StepError> {
    let kib = image.size * 2 / 1024;
    let text = session.root_script(PREFLIGHT, &[&kib.to_string()]).read().map_err(|error| {
        StepError::from(error).doing("whether a kexec can work could not be asked")
    })?;
    judge(&text, facts.memory_bytes, image.size)
}

fn judge(text: &str, memory: u64, image: u64) -> Result<String, StepError> {
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    };
    let refuse = |why: String, hint: &str| {
        Err(StepError::new("the running system cannot be replaced by the installer", why, hint)
            .exit(Exit::Usage))
    };
    let container = value("container");
    if !container.is_empty() && container != "none" {
        return refuse(
            format!("it is a container ({container}), with the kernel of another machine"),
            "Install on the machine itself, or on a virtual machine.",
        );
    }
    if value("loaded") == "missing" {
        return refuse(
            "its kernel was built without kexec".into(),
            "Boot another rescue system, or the image that `landfall iso build` makes.",
        );
    }
    if matches!(value("lockdown"), "integrity" | "confidentiality") {
        return refuse(
            format!("its kernel is locked down ({}), as with Secure Boot", value("lockdown")),
            "Switch Secure Boot off in the firmware, or boot the image that `landfall iso build` makes.",
        );
    }
    if value("disabled") == "1" {
        return refuse(
            "kexec is switched off until the next boot (kernel.kexec_load_disabled)".into(),
            "Reboot it without that setting.",
        );
    }
    let missing: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("missing=")).collect();
    if !missing.is_empty() {
        return refuse(
            format!("it has no {}", missing.join(", no ")),
            "Install what is missing with the package manager of that system.",
        );
    }
    let needed = image * 2 + WORKING_MEMORY;
    if memory < needed {
        return refuse(
            format!("it has {} of memory; the installer needs {}", size(memory), size(needed)),
            "Give the machine more memory, or boot the image that `landfall iso build` makes.",
        );
    }
    let available = value("available_kib").parse::<u64>().unwrap_or(0) * 1024;
    if available < image + (64 << 20) {
        return refuse(
            format!("only {} of its memory is free", size(available)),
            "Stop what runs on it, then run the same command again.",
        );
    }
    match value("folder") {
        "" => refuse(
            format!("no folder of it has room for the image ({})", size(image * 2)),
            "Make room in /var/tmp.",
        ),
        folder => Ok(folder.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "loaded=0\ndisabled=0\nlockdown=none\ncontainer=none\n\
                        available_kib=1500000\nfolder=/root\n";
    const GIB: u64 = 1 << 30;

    fn why(text: &str, memory: u64) -> String {
        judge(text, memory, 100 << 20).unwrap_err().why
    }

    #[test]
    fn a_system_that_can_be_replaced_tells_where_the_image_fits() {
        assert_eq!(judge(GOOD, 2 * GIB, 100 << 20), Ok("/root".into()));
        // Kernels before lockdown existed, systems without systemd.
        let old = "loaded=0\ndisabled=0\nlockdown=\navailable_kib=1500000\nfolder=/tmp\n";
        assert_eq!(judge(old, 2 * GIB, 100 << 20), Ok("/tmp".into()));
    }

    #[test]
    fn each_obstacle_is_named() {
        let with = |from: &str, to: &str| why(&GOOD.replace(from, to), 2 * GIB);
        assert!(with("container=none", "container=lxc").contains("container (lxc)"));
        assert!(with("loaded=0", "loaded=missing").contains("without kexec"));
        assert!(with("lockdown=none", "lockdown=integrity").contains("Secure Boot"));
        assert!(with("disabled=0", "disabled=1").contains("kexec_load_disabled"));
        assert!(with("available_kib=1500000", "available_kib=9000").contains("is free"));
        assert!(with("folder=/root\n", "").contains("no folder"));
        assert_eq!(
            with("container", "missing=cpio\nmissing=tar\ncontainer"),
            "it has no cpio, no tar"
        );
        assert!(why(GOOD, GIB / 2).contains("memory"));
    }
}
