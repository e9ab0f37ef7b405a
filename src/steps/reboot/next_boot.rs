//! Telling UEFI firmware to start the new system next, where it can be told: many boot
//! the stick again otherwise, at every reboot.

use crate::steps::context::Context;
use crate::target::NEW_ROOT;

/// Prints the partition UUID of each place where the new system may have its EFI system
/// partition, then the firmware's entries. Prints nothing where the firmware has no
/// variables that can be written.
const ENTRIES: &str = r#"
[ -w /sys/firmware/efi/efivars ] && command -v efibootmgr >/dev/null || exit 0
for place in boot efi boot/efi; do
  device=$(findmnt -no SOURCE --mountpoint "$1/$place") &&
    printf 'partition=%s\n' "$(lsblk -dno PARTUUID "$device")"
done
efibootmgr -v
"#;

/// Sets BootNext to the entry that started what runs now. The variable is written whole or
/// not at all, so at once: its attributes (kept, for boot and run time), then the number.
/// Its form: the kernel's Documentation/filesystems/efivarfs.rst.
const AGAIN: &str = r#"
set -eu
cd /sys/firmware/efi/efivars
global=8be4df61-93ca-11d2-aa0d-00e098032b8c
next=$(mktemp)
trap 'rm -f "$next"' EXIT
{ printf '\007\000\000\000'; tail -c 2 "BootCurrent-$global"; } > "$next"
dd if="$next" of="BootNext-$global" bs=6 count=1 status=none
"#;

/// Sets BootNext to the entry of the new system. It is a help: whatever stands in its way
/// is for the log.
pub(crate) fn set(cx: &Context) {
    let Some(target) = &cx.connection.target else { return };
    if !target.facts.uefi {
        return;
    }
    let printed = match target.session.root_script(ENTRIES, &[NEW_ROOT]).read() {
        Ok(printed) => printed,
        Err(error) => return tracing::info!(%error, "BootNext is left alone"),
    };
    let Some(entry) = entry(&printed) else {
        return tracing::info!(
            "BootNext is left alone: no entry of the firmware is the new system's"
        );
    };
    match target.session.root(&["efibootmgr", "--quiet", "--bootnext", entry]).run() {
        Ok(_) => tracing::info!(entry, "BootNext is set"),
        Err(error) => tracing::info!(%error, "BootNext is left alone"),
    }
}

/// Sets BootNext to the entry that started the installed system: one that was started by
/// [`set`] alone is to come back, too.
pub(crate) fn again(cx: &Context) {
    let Some(target) = cx.connection.target.as_ref().filter(|target| target.facts.uefi) else {
        return;
    };
    match target.session.root_script(AGAIN, &[]).run() {
        Ok(_) => tracing::info!("BootNext is what started this boot"),
        Err(error) => tracing::info!(%error, "BootNext is left alone"),
    }
}

/// The number of the entry that starts a file on one of the partitions; the first in the
/// firmware's own order, where there are several.
fn entry(printed: &str) -> Option<&str> {
    let lower = |text: &str| text.trim().to_lowercase();
    let partitions: Vec<String> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("partition="))
        .map(lower)
        .filter(|uuid| !uuid.is_empty())
        .collect();
    let numbers: Vec<&str> = printed
        .lines()
        .filter(|line| partitions.iter().any(|uuid| lower(line).contains(uuid)))
        .filter_map(|line| line.strip_prefix("Boot")?.get(..4))
        .filter(|number| number.chars().all(|c| c.is_ascii_hexdigit()))
        .collect();
    let order = printed.lines().find_map(|line| line.strip_prefix("BootOrder: "));
    let mut ordered = order.unwrap_or_default().split(',').map(str::trim);
    ordered.find(|number| numbers.contains(number)).or(numbers.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "partition=4A5B1C9E-0000-4d2a-9d0e-0123456789ab\n\
        BootCurrent: 0001\nTimeout: 0 seconds\nBootOrder: 0001,0004,0003,0000\n\
        Boot0000* UiApp\tFvVol(7cb8bdc9)/FvFile(462caa21)\n\
        Boot0001* UEFI QEMU CD\tPciRoot(0x0)/Pci(0x1f,0x2)/Sata(2,65535,0)\n\
        Boot0003* Linux Boot Manager\tHD(1,GPT,4a5b1c9e-0000-4d2a-9d0e-0123456789ab,0x800,0x100000)/File(\\EFI\\systemd\\systemd-bootx64.efi)\n\
        Boot0004* NixOS\tHD(1,GPT,4a5b1c9e-0000-4d2a-9d0e-0123456789ab,0x800,0x100000)/File(\\EFI\\BOOT\\BOOTX64.EFI)\n\
        Boot0005* Windows\tHD(1,GPT,ffffffff-0000-4d2a-9d0e-0123456789ab,0x800,0x100000)/File(\\EFI\\x.efi)\n";

    #[test]
    fn the_entry_is_the_first_on_the_new_partition() {
        assert_eq!(entry(PRINTED), Some("0004"));
        assert_eq!(entry(&PRINTED.replace("0001,0004,0003", "0001")), Some("0003"));
    }

    #[test]
    fn without_a_partition_or_an_entry_there_is_none() {
        assert_eq!(entry(""), None);
        assert_eq!(entry(&PRINTED.replace("partition=4A5B1C9E", "partition=00000000")), None);
        assert_eq!(
            entry(&PRINTED.replace("partition=4A5B1C9E-0000-4d2a-9d0e-0123456789ab", "partition=")),
            None
        );
    }
}
