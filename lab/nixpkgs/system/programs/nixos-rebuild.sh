#!@bash@/bin/bash
# Builds a configuration and makes it the running system, the next one, or both.
#
#   nixos-rebuild build|boot|switch|test|dry-activate [--flake REF[#HOST]] [options of nix build]
set -euo pipefail
export PATH=/run/wrappers/bin:/run/current-system/sw/bin

profile=/nix/var/nix/profiles/system
action=
flake=/etc/nixos
nix_options=()

fail() {
  echo "nixos-rebuild: $1" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  case $1 in
    build | boot | switch | test | dry-activate) action=$1; shift ;;
    --flake) flake=${2:?--flake needs a reference}; shift 2 ;;
    --override-input | --option) nix_options+=("$1" "$2" "$3"); shift 3 ;;
    --max-jobs | -j | --cores) nix_options+=("$1" "$2"); shift 2 ;;
    -L | --print-build-logs | --show-trace | --impure | --offline | --refresh | --no-write-lock-file | \
      --accept-flake-config | --keep-going | -v | --verbose | --log-format=*)
      nix_options+=("$1")
      shift
      ;;
    *) fail "'$1' is not supported in the lab" ;;
  esac
done
[ -n "$action" ] || fail "build, boot, switch, test or dry-activate?"

host=${flake#*#}
[ "$host" != "$flake" ] || host=$(hostname)
echo "building the system configuration..." >&2
system=$(nix --extra-experimental-features 'nix-command flakes' build --no-link --print-out-paths \
  "${nix_options[@]}" "${flake%%#*}#nixosConfigurations.\"$host\".config.system.build.toplevel")

case $action in
  build) ln -sfn "$system" result ;;
  boot | switch)
    [ "$(id -u)" = 0 ] || fail "only root can do this; run it with sudo"
    nix-env --profile "$profile" --set "$system"
    ;;
esac
[ "$action" != build ] || exit 0

# Outside the caller's session: a switch may restart what the session depends on.
systemd-run --collect --no-ask-password --pipe --quiet --service-type=exec --wait \
  --unit=nixos-rebuild-switch-to-configuration \
  "$system/bin/switch-to-configuration" "$action"
