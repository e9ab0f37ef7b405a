# Puts GRUB for BIOS on disks, and a menu of all generations below $boot, with their kernels. Sourced
# by the script of boot-loader.nix after boot-files.sh, with boot, devices, timeout, timeout_style,
# default_entry, limit, secrets, title, version, install_arguments, entry_options, sub_entry_options,
# extra_config, extra_entries, extra_per_entry and entries_first.
# Argument: the system to boot by default.
set -euo pipefail

default=$(readlink -f "$1")
kept=()

main() {
  echo "updating the menu of GRUB..." >&2
  (umask 077 && mkdir -p "$boot/grub" "$boot/kernels")
  local search where
  search="search --set=drive1 --fs-uuid $(grub-probe --target=fs_uuid "$boot")"
  where="(\$drive1)$(grub-mkrelpath "$boot" | sed 's|/$||')"
  write_menu > "$boot/grub/grub.cfg.tmp"
  # What the menu names is there before the menu is.
  sync -f "$boot"
  mv -f "$boot/grub/grub.cfg.tmp" "$boot/grub/grub.cfg"
  remove_others
  install_code
  sync -f "$boot"
}

write_menu() {
  cat << END
# Written anew with every generation: changes belong into boot.loader.grub.
$search
if [ -s \$prefix/grubenv ]; then
  load_env
fi
# What grub-reboot chose is for one boot.
if [ "\${saved_entry}" ]; then
  set default="\${saved_entry}"
  set saved_entry=
  save_env saved_entry
  set timeout=1
else
  set default="$default_entry"
  set timeout=$timeout
fi
set timeout_style=$timeout_style
$extra_config
END
  [ -z "$entries_first" ] || echo "$extra_entries"
  write_entry "$title" "$default" "$entry_options"
  [ -n "$entries_first" ] || echo "$extra_entries"
  echo "submenu \"$title - All configurations\" $sub_entry_options {"
  local number system
  for number in $(generations | sort -rn); do
    system=$(system_of "$number")
    write_entry "$title - Configuration $number ($(cat "$system/nixos-version"))" "$system" "$sub_entry_options"
  done
  echo "}"
}

write_entry() {
  local name=$1 system=$2 options=$3 kernel initrd extra
  kernel=$(place "$system/kernel")
  initrd=$(place "$system/initrd")
  extra=$(place_secrets "$system")
  kept+=("$kernel" "$initrd" ${extra:+"$extra"})
  cat << END
menuentry "$name" $options {
  $search
  $extra_per_entry
  linux $where/$kernel init=$system/init $(cat "$system/kernel-params")
  initrd $where/$initrd${extra:+ $where/$extra}
}
END
}

# A file of the store under a name of its own below $boot; prints that name.
place() {
  local source name
  source=$(readlink -f "$1")
  name=kernels/$(sed 's|^/nix/store/||; s|/|-|g' <<< "$source")
  [ -e "$boot/$name" ] || replace "$source" "$boot/$name" || return 1
  echo "$name"
}

# Files that only the initrd needs and the store must not hold: an archive beside the initrd.
place_secrets() {
  [ -s "$secrets" ] || return 0
  local name
  name=kernels/$(basename "$1")-secrets
  if [ "$1" = "$default" ] || [ ! -e "$boot/$name" ]; then
    archive_secrets "$boot/$name" || return 1
  fi
  echo "$name"
}

remove_others() {
  local file
  for file in "$boot"/kernels/*; do
    printf '%s\n' "${kept[@]}" | grep -qxF "${file#"$boot/"}" || rm -f "$file"
  done
}

# GRUB's own code goes to the disks when it is another one, and when an installation asks for it. The
# state is written last: it tells that all of it is there.
install_code() {
  local state device
  state=$(printf 'grub\n%s\nno\n%s\n\n%s\n' "$version" "$(IFS=, && echo "${devices[*]}")" "${install_arguments[*]}")
  if [ "${NIXOS_INSTALL_BOOTLOADER-}" != 1 ] && [ "$(cat "$boot/grub/state" 2> /dev/null)" = "$state" ]; then
    return 0
  fi
  for device in "${devices[@]}"; do
    [ "$device" != nodev ] || continue
    echo "installing the GRUB boot loader on $device..." >&2
    grub-install --recheck --target=i386-pc --boot-directory="$boot" "${install_arguments[@]}" "$device"
  done
  echo "$state" > "$boot/grub/state.tmp"
  mv -f "$boot/grub/state.tmp" "$boot/grub/state"
}

main
