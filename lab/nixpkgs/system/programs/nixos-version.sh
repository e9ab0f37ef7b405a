#!@bash@/bin/bash
# Prints the version of the running system.
case ${1-} in
  '') echo "$(cat /run/current-system/nixos-version) (Yarara)" ;;
  --json) printf '{"nixosVersion":"%s"}\n' "$(cat /run/current-system/nixos-version)" ;;
  *)
    echo "nixos-version: '$1' is not supported in the lab; --json is" >&2
    exit 1
    ;;
esac
