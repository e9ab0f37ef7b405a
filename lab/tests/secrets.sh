#!/bin/sh
# Tests of lab/sops-nix/install-secrets.sh with the real sops: run by run.sh, prints one line a
# test. Needs root, for a mount namespace with a /run of its own.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
if [ "${1:-}" != inside ]; then
  exec unshare --mount --propagation private "$0" inside
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mount -t tmpfs tmpfs /run
export PATH="$here/../base:$PATH" HOME=/var/empty

install -m 600 "$here/fixtures/host_key" "$work/host_key"
cat > "$work/plain.yaml" <<'YAML'
passwords:
    alice: $6$salt$hash
sample: "a & b\twörld"
number: 5
list: [x, y]
map: {a: 1}
YAML
sops encrypt --age "$(cat "$here/fixtures/recipient")" "$work/plain.yaml" > "$work/secrets.yaml"

# run LINES: one activation with these calls between begin and finish.
run() {
  {
    cat <<'BEGIN'
set -euo pipefail
link=/run/secrets keep=1 filesystem=ramfs logs=
BEGIN
    echo ". '$here/../sops-nix/install-secrets.sh'"
    echo "begin"
    echo "$1"
    echo "finish"
  } > "$work/run.sh"
  bash "$work/run.sh" > "$work/output" 2>&1
}
# secret NAME KEY [MODE OWNER PATH UNIT]
secret() {
  echo "installSecret '$1' '$2' '$work/secrets.yaml' yaml ${3:-0400} ${4:-0} ${4:-0} '${5:-/run/secrets/$1}' '${6:-}' ''"
}
key="importSshKey '$work/host_key'"

check() {
  name=$1
  shift
  if "$@" > /dev/null 2>&1; then echo "ok secrets-$name"; else echo "FAILED secrets-$name"; fi
}
holds() { [ "$(cat "$1")" = "$2" ]; }
says() { grep -qF -- "$1" "$work/output"; }
refused() { ! run "$1"; }
owned() { [ "$(stat -c '%a %U' "$1")" = "$2" ]; }

printf 'token=<TOKEN>!\n' > "$work/template"
check opens run "$key
$(secret passwords/alice passwords/alice)
$(secret moved sample 0440 daemon /run/elsewhere/sample)
$(secret number number)
$(secret second list/1)
$(secret whole '')
$(secret sample sample)
placeholder '<TOKEN>' sample
renderTemplate conf '$work/template' 0400 0 0 /run/secrets/rendered/conf '' ''"
check nested-key holds /run/secrets/passwords/alice '$6$salt$hash'
check number holds /run/secrets/number 5
check list-element holds /run/secrets/second y
check other-path holds /run/elsewhere/sample "$(printf 'a & b\twörld')"
check owner owned /run/secrets/moved '440 daemon'
check whole-file grep -q '^passwords:' /run/secrets/whole
check template holds /run/secrets/rendered/conf "$(printf 'token=a & b\twörld!')"
check no-identity-left test ! -e /run/secrets.d/age-keys.txt
check not-for-others owned /run/secrets.d '751 root'

check change-restarts run "$key
$(secret number number 0400 0 /run/secrets/number same.service)
$(secret sample number 0400 0 /run/secrets/sample changed.service)"
check restart-list holds /run/nixos/activation-restart-list changed.service
check old-generation-goes test ! -e /run/secrets.d/1

check missing-key refused "$key
$(secret sample nowhere/key)"
check missing-key-says says "the key 'nowhere/key' cannot be read"
check map-is-no-value refused "$key
$(secret sample map)"
check missing-host-key refused "importSshKey /nowhere/key"
check missing-host-key-says says "cannot read ssh key '/nowhere/key'"
check missing-key-file refused "importKeyFile /nowhere/keys.txt"
ssh-keygen -q -t ed25519 -N '' -f "$work/other_key"
check wrong-host-key refused "importSshKey '$work/other_key'
$(secret sample sample)"
check wrong-host-key-says says "failed to decrypt"
check failure-keeps-the-old holds /run/secrets/number 5
check failure-leaves-nothing test "$(find /run/secrets.d -mindepth 1 -maxdepth 1 | wc -l)" -eq 1
