#!@bash@/bin/bash
# Installs a system that is built already on the file systems mounted below --root.
#
#   nixos-install --system PATH [--root DIR] [--no-root-passwd] [--no-channel-copy] [--no-bootloader]
set -euo pipefail
export PATH=/run/wrappers/bin:/run/current-system/sw/bin

root=/mnt
system=
ask_password=1
boot_loader=1

fail() {
  echo "nixos-install: $1" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  case $1 in
    --root) root=${2:?--root needs a folder}; shift 2 ;;
    --system | --closure) system=${2:?$1 needs a store path}; shift 2 ;;
    --no-root-passwd | --no-root-password) ask_password=; shift ;;
    --no-channel-copy) shift ;;
    --no-bootloader) boot_loader=; shift ;;
    --flake) fail "--flake is not supported in the lab: build the system elsewhere and give its path to --system" ;;
    *) fail "'$1' is not supported in the lab" ;;
  esac
done

[ "$(id -u)" = 0 ] || fail "only root can install a system"
[ -n "$system" ] || fail "--system is missing; the lab does not build from $root/etc/nixos"
[ -d "$root" ] || fail "$root does not exist"
mountpoint -q "$root" || fail "$root is not a mount point: mount the target's file systems there first"
[ "$(stat -c %a "$root")" = 755 ] || chmod 755 "$root"
[ -e "$system/activate" ] || [ -e "$root$system/activate" ] || fail "$system is no NixOS system"

# Copies from this machine's store what the target's does not have.
nix-env --store "$root" --extra-substituters "auto?trusted=1" \
  --profile "$root/nix/var/nix/profiles/system" --set "$system"

install -m 755 -d "$root/etc" "$root/tmp"
chmod 1777 "$root/tmp"
touch "$root/etc/NIXOS"
ln -sfn /proc/mounts "$root/etc/mtab"

if [ -n "$boot_loader" ]; then
  echo "installing the boot loader..."
  nixos-enter --root "$root" -c \
    'NIXOS_INSTALL_BOOTLOADER=1 /nix/var/nix/profiles/system/bin/switch-to-configuration boot'
fi
if [ -n "$ask_password" ] && [ -t 0 ] && [ -t 1 ]; then
  echo "setting root password..."
  nixos-enter --root "$root" -c 'passwd'
fi
echo "installation finished!"
