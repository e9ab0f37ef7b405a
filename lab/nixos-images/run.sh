#!/bin/sh
# Starts the installer beside this script in place of the system that runs, as root:
#
#   run [--kexec-extra-flags FLAGS]
#
# The installer opens to those who may log in here, answers with this system's host keys and has
# its fixed addresses. Returns at once; the kexec follows some seconds later.
set -eu

flags=
while [ $# -gt 0 ]; do
  case $1 in
    --kexec-extra-flags) flags=$2; shift 2 ;;
    *) echo "run: unknown argument: $1" >&2; exit 2 ;;
  esac
done

here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d "$here/handover.XXXXXX")
trap 'rm -rf "$work"' EXIT
umask 077
mkdir -p "$work/handover/ssh" "$work/handover/network"

# authorized_keys USER: those of the user's home, and those that NixOS keeps in /etc.
authorized_keys() {
  home=$(getent passwd "$1" | cut -d : -f 6)
  for file in "$home/.ssh/authorized_keys" "$home/.ssh/authorized_keys2" "/etc/ssh/authorized_keys.d/$1"; do
    # Options before a key (some images forbid root in this way) stay behind.
    if [ -e "$file" ]; then
      grep -o '\(ssh\|ecdsa\|sk\)-[a-z0-9@.-]* [A-Za-z0-9+/=]\+.*' "$file" || true
    fi
  done
}
for user in root "${SUDO_USER:-}" "${DOAS_USER:-}"; do
  if [ -n "$user" ]; then authorized_keys "$user"; fi
done | sort -u > "$work/handover/ssh/authorized_keys"
for key in /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub; do
  if [ -e "$key" ]; then cp -p "$key" "$work/handover/ssh/"; fi
done

# What came by DHCP comes by DHCP again; what was set by hand would be lost.
ip -o addr show scope global | awk '!/ dynamic / { print $2 }' | sort -u | while read -r link; do
  file=$work/handover/network/00-kexec-$link.network
  {
    printf '[Match]\nMACAddress=%s\n[Network]\n' "$(cat "/sys/class/net/$link/address")"
    ip -o addr show dev "$link" scope global | awk '!/ dynamic / { print "Address=" $4 }'
    ip route show default dev "$link" | awk '$2 == "via" { print "Gateway=" $3 }'
    ip -6 route show default dev "$link" | awk '$2 == "via" { print "Gateway=" $3 }'
  } > "$file"
  chmod 644 "$file"
done

(cd "$work" && find . | cpio -o -H newc --quiet | gzip -9) >> "$here/initrd"
# shellcheck disable=SC2086
"$here/kexec" --load "$here/bzImage" --initrd="$here/initrd" --kexec-syscall-auto $flags \
  --command-line '@params@'
echo "the installer starts in 6 seconds"
# The session that started this must come to its end first.
# shellcheck disable=SC2086
nohup setsid sh -c "sleep 6; '$here/kexec' -e $flags" < /dev/null > /dev/null 2>&1 &
