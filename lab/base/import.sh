#!/usr/bin/env bash
# Adds the component trees of build.sh to the nix store and prints base.json, which the miniature
# nixpkgs reads: for each component its store path, hash and dependencies.
#
#   import.sh OUTDIR > base.json        (with nix in PATH and write access to the store)
#
# The paths are content-addressed, so pure evaluation can name them and no target asks for a
# signature.
set -euo pipefail

out=$1
mapfile -t folders < <(cut -f 2 "$out/components.tsv")
mapfile -t paths < <(cd "$out/components" && nix-store --add "${folders[@]}")
mapfile -t hashes < <(nix-store --query --hash "${paths[@]}")

cut -f 1,3 "$out/components.tsv" | paste - <(printf '%s\n' "${paths[@]}") <(printf '%s\n' "${hashes[@]}") |
  awk -F '\t' '
    BEGIN { print "{" }
    { gsub(/ /, "\", \"", $2)
      depends = ($2 == "") ? "" : "\"" $2 "\""
      printf "%s  \"%s\": { \"path\": \"%s\", \"hash\": \"%s\", \"depends\": [%s] }", (NR > 1 ? ",\n" : ""), $1, $3, $4, depends }
    END { print "\n}" }'
