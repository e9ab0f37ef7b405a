#!@bash@/bin/bash
# Runs a command in an installed system below a mount point:
#
#   nixos-enter [--root DIR] [--system PATH] [--silent] [-c COMMAND | -- PROGRAM ARGUMENTS]
#
# Mounts are private to it: one that leaked would keep the disk busy at the next reboot.
set -euo pipefail
export PATH=/run/wrappers/bin:/run/current-system/sw/bin

root=/mnt
system=/nix/var/nix/profiles/system
silent=
command=(/usr/bin/bash --login)
arguments=("$@")

while [ $# -gt 0 ]; do
  case $1 in
    --root) root=${2:?--root needs a folder}; shift 2 ;;
    --system) system=${2:?--system needs a store path}; shift 2 ;;
    --silent) silent=1; shift ;;
    -c | --command) command=(/usr/bin/bash -c "${2:?$1 needs a command}"); shift 2 ;;
    --) shift; command=("$@"); break ;;
    *)
      echo "nixos-enter: '$1' is not supported in the lab" >&2
      exit 1
      ;;
  esac
done

if [ ! -e "$root/etc/NIXOS" ]; then
  echo "nixos-enter: $root is not a NixOS installation: etc/NIXOS is missing" >&2
  exit 126
fi
if [ -z "${NIXOS_ENTER_NAMESPACE-}" ]; then
  NIXOS_ENTER_NAMESPACE=1 exec unshare --fork --mount --uts --pid --mount-proc --propagation private -- "$0" "${arguments[@]}"
fi
unset NIXOS_ENTER_NAMESPACE

mkdir -p "$root"/{dev,proc,sys,run}
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount --bind /proc "$root/proc"
# What activation decrypts stays in memory.
mount -t tmpfs -o mode=755 tmpfs "$root/run"

activate() {
  IN_NIXOS_ENTER=1 chroot "$root" "$system/activate" || echo "nixos-enter: activation was not complete"
}
if [ -n "$silent" ]; then activate > /dev/null 2>&1; else activate >&2; fi

exec chroot "$root" /usr/bin/env PATH=/run/wrappers/bin:/usr/bin "${command[@]}"
