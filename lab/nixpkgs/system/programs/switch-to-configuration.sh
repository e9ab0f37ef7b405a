#!@bash@/bin/bash
# Makes this system the one that runs, boots, or both: boot, switch, test or dry-activate.
set -uo pipefail

out=@out@
action=${1-}
export PATH=/usr/bin LC_ALL=C NIXOS_ACTION=$action

usage() {
  echo "Usage: $0 switch|boot|test|dry-activate" >&2
  exit 1
}

# Names of the units below a system's etc, each with what it is made of.
units() {
  local unit
  for unit in "$1"/etc/systemd/system/*.{service,socket,timer,path,mount,target,slice}; do
    [ -L "$unit" ] && printf '%s %s\n' "${unit##*/}" "$(readlink "$unit")"
    [ -L "$unit.d/overrides.conf" ] && printf '%s %s\n' "${unit##*/}" "$(readlink "$unit.d/overrides.conf")"
  done | sort
}

is_active() { systemctl is-active --quiet "$1"; }

# Services keep running while nothing about them changed; the others are taken down with the old
# units and brought up with the new ones.
plan_units() {
  local old new name
  old=$(units /run/current-system)
  new=$(units "$out")
  stop=() restart=()
  while read -r name _; do
    grep -q "^$name " <<< "$new" || ! is_active "$name" || stop+=("$name")
  done <<< "$old"
  while read -r name _; do
    case $name in
      *@.* | *.target | *.slice) continue ;;
    esac
    ! grep -q '^X-RestartIfChanged=false' "$out/etc/systemd/system/$name" 2> /dev/null || continue
    ! grep -q '^RefuseManualStop=\(true\|yes\)' "$out/etc/systemd/system/$name" 2> /dev/null || continue
    grep -q "^$name " <<< "$old" && is_active "$name" && restart+=("$name")
  done < <(comm -13 <(echo "$old") <(echo "$new"))
}

# What snippets of the activation asked for: units to restart or reload if they run.
activation_wishes() {
  local list=/run/nixos/activation-$1-list unit units
  [ -e "$list" ] || return 0
  mapfile -t units < "$list"
  rm -f "$list"
  for unit in "${units[@]}"; do
    ! is_active "$unit" || systemctl "$1" "$unit" || result=4
  done
}

activate_now() {
  local result=0
  plan_units
  [ ${#stop[@]} = 0 ] || { echo "stopping the following units: ${stop[*]}"; systemctl stop "${stop[@]}"; }
  echo "activating the configuration..."
  "$out/activate" || result=2
  systemctl daemon-reload || result=3
  systemd-tmpfiles --create --remove --exclude-prefix=/dev > /dev/null 2>&1
  [ ${#restart[@]} = 0 ] || { echo "restarting the following units: ${restart[*]}"; systemctl restart "${restart[@]}" || result=4; }
  activation_wishes restart
  activation_wishes reload
  systemctl start default.target timers.target sockets.target || result=4
  return $result
}

case $action in
  boot | switch | test | dry-activate) ;;
  *) usage ;;
esac

if [ "$(id -u)" != 0 ] && [ "$action" != dry-activate ]; then
  echo "$0: only root can do this; run it with sudo" >&2
  exit 1
fi
if [ ! -e /etc/NIXOS ] && ! grep -q '^ID="\?nixos"\?' /etc/os-release 2> /dev/null; then
  echo "$0: this is not a NixOS installation" >&2
  exit 1
fi

if [ "$action" = boot ] || [ "$action" = switch ]; then
  if [ "${NIXOS_NO_BOOTLOADER-}" != 1 ]; then
    @installBootLoader@ "$out" || { echo "Failed to install bootloader" >&2; exit 1; }
  fi
  sync -f /nix/store
fi

case $action in
  boot) exit 0 ;;
  dry-activate)
    plan_units
    echo "would stop the following units: ${stop[*]-}"
    echo "would restart the following units: ${restart[*]-}"
    exit 0
    ;;
esac

activate_now
