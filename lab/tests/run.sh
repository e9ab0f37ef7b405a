#!/bin/sh
# Tests of the lab's nixpkgs, disko and sops-nix. Run as root inside `cargo xtask lab enter`.
#
# tests.nix names the tests; a test expects a value or an error. Values are evaluated together,
# each error alone, because its message cannot be seen from inside Nix.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

base=${LANDFALL_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/landfall-lab}/base.json
if ! [ -r "$base" ]; then
  echo "run.sh: $base is missing; run cargo xtask lab setup first" >&2
  exit 2
fi
# The tree as it is now, with the packages of the set-up.
cp -a "$here/.." "$work/lab"
cp -a "$here/../../templates" "$work/templates"
cp "$base" "$work/lab/nixpkgs/base.json"
tests=$work/lab/tests/tests.nix

# What bootstrap and init would have made.
cat > "$work/templates/nix-config/hosts/nixos/guppy/hardware-configuration.nix" <<'NIX'
{ lib, modulesPath, ... }:
{
  imports = [ (modulesPath + "/profiles/qemu-guest.nix") ];
  boot.initrd.availableKernelModules = [ "virtio_blk" ];
  boot.kernelModules = [ ];
  boot.extraModulePackages = [ ];
  nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
}
NIX
mkdir -p "$work/templates/nix-secrets/sops"
echo 'sample: ENC[]' > "$work/templates/nix-secrets/sops/guppy.yaml"

evaluate() {
  nix eval --impure --json --file "$tests" "$@"
}

passed=0
failed=0
fail() {
  failed=$((failed + 1))
  echo "FAILED $1: $2"
}

# One line for each test: name, kind, and for a value whether it is as expected.
if ! evaluate report > "$work/report.json" 2> "$work/stderr"; then
  cat "$work/stderr"
  echo "0 passed, 1 failed"
  exit 1
fi
jq -r '.values[] | [.name, (.ok | tostring), (.actual | tojson)] | @tsv' "$work/report.json" > "$work/values"
while IFS="$(printf '\t')" read -r name ok actual; do
  if [ "$ok" = true ]; then
    passed=$((passed + 1))
  else
    fail "$name" "the value is $actual"
  fi
done < "$work/values"

jq -r '.errors[] | [.name, .pattern] | @tsv' "$work/report.json" > "$work/errors"
while IFS="$(printf '\t')" read -r name pattern; do
  if evaluate "errors.$name.expr" > /dev/null 2> "$work/stderr" < /dev/null; then
    fail "$name" "it evaluates, but should fail with: $pattern"
  elif tr '\n' ' ' < "$work/stderr" | tr -s ' ' | grep -qF -- "$pattern"; then
    passed=$((passed + 1))
  else
    fail "$name" "expected: $pattern; it says: $(tail -n 4 "$work/stderr" | tr '\n' ' ')"
  fi
done < "$work/errors"

"$here/secrets.sh" > "$work/secrets"
while read -r result name; do
  if [ "$result" = ok ]; then
    passed=$((passed + 1))
  else
    fail "$name" "see lab/tests/secrets.sh"
  fi
done < "$work/secrets"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
