# Puts systemd-boot and an entry for each generation on the ESP. Sourced by the script of
# boot-loader.nix after boot-files.sh, with esp, timeout, editor, limit, touch_variables, graceful,
# firmware_program, secrets and title. Argument: the system to boot by default.
set -euo pipefail

default=$1
kept=()

main() {
  require_esp
  mkdir -p "$esp/EFI/systemd" "$esp/EFI/BOOT" "$esp/EFI/nixos" "$esp/loader/entries"
  replace "$firmware_program" "$esp/EFI/systemd/systemd-bootx64.efi"
  replace "$firmware_program" "$esp/EFI/BOOT/BOOTX64.EFI"
  local number
  for number in $(generations); do
    write_entry "$number" "$(system_of "$number")"
  done
  write_loader_conf
  remove_others
  if [ -n "$touch_variables" ]; then
    register_with_firmware
  fi
  sync -f "$esp"
}

require_esp() {
  if ! mountpoint -q "$esp"; then
    echo "$esp is not a mount point: mount the EFI system partition there" >&2
    exit 1
  fi
}

# A file of the store under a name of its own on the ESP; prints that name.
place() {
  local source name
  source=$(readlink -f "$1")
  name=EFI/nixos/$(sed 's|^/nix/store/||; s|/|-|g' <<< "$source").efi
  [ -e "$esp/$name" ] || replace "$source" "$esp/$name"
  echo "$name"
}

write_entry() {
  local number=$1 system=$2 kernel initrd extra entry=$esp/loader/entries/nixos-generation-$1.conf
  kernel=$(place "$system/kernel")
  initrd=$(place "$system/initrd")
  extra=$(place_secrets "$number" "$system")
  kept+=("$kernel" "$initrd" ${extra:+"$extra"} "loader/entries/${entry##*/}")
  {
    echo "title $title"
    echo "version Generation $number $(cat "$system/nixos-version")"
    echo "linux /$kernel"
    echo "initrd /$initrd"
    [ -z "$extra" ] || echo "initrd /$extra"
    echo "options init=$system/init $(cat "$system/kernel-params")"
    echo "machine-id $(cat /etc/machine-id 2> /dev/null || echo 00000000000000000000000000000000)"
  } > "$entry.tmp"
  mv -f "$entry.tmp" "$entry"
  if [ "$system" = "$(readlink -f "$default")" ]; then
    default_entry=nixos-generation-$number.conf
  fi
}

# Files that only the initrd needs and the store must not hold: an archive beside the initrd.
place_secrets() {
  [ -s "$secrets" ] || return 0
  local name=EFI/nixos/secrets-generation-$1.efi
  if [ "$2" = "$(readlink -f "$default")" ] || [ ! -e "$esp/$name" ]; then
    archive_secrets "$esp/$name" || return 1
  fi
  echo "$name"
}

write_loader_conf() {
  {
    echo "timeout $timeout"
    echo "default ${default_entry:-nixos-generation-*.conf}"
    echo "editor $editor"
    echo "console-mode keep"
  } > "$esp/loader/loader.conf.tmp"
  mv -f "$esp/loader/loader.conf.tmp" "$esp/loader/loader.conf"
}

remove_others() {
  local file
  for file in "$esp"/EFI/nixos/* "$esp"/loader/entries/nixos-generation-*.conf; do
    printf '%s\n' "${kept[@]}" | grep -qxF "${file#"$esp/"}" || rm -f "$file"
  done
}

# Firmware without variables still finds BOOTX64.EFI.
register_with_firmware() {
  [ -d /sys/firmware/efi/efivars ] || return 0
  mountpoint -q /sys/firmware/efi/efivars || mount -t efivarfs efivarfs /sys/firmware/efi/efivars || return 0
  local listing device number disk
  listing=$(efibootmgr 2> /dev/null) || return 0
  ! grep -q 'Linux Boot Manager' <<< "$listing" || return 0
  device=$(findmnt -no SOURCE "$esp")
  number=$(cat "/sys/class/block/${device##*/}/partition" 2> /dev/null) || return 0
  disk=/dev/$(basename "$(dirname "$(readlink -f "/sys/class/block/${device##*/}")")")
  efibootmgr --quiet --create --disk "$disk" --part "$number" --label 'Linux Boot Manager' \
    --loader '\EFI\systemd\systemd-bootx64.efi' || [ -n "$graceful" ]
}

main
