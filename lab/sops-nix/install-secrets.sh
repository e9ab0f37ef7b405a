# Opens secrets into a new generation and makes it the current one.
#
# Set before: $link, $keep, $filesystem, $logs. Called in order: begin, the imports of
# identities, installSecret and renderTemplate for each, finish. Whatever fails ends the whole,
# and the generation before stays current.
store=$link.d
declare -A decrypted placeholders

fail() {
  echo "sops-install-secrets: $*" >&2
  exit 1
}

logged() {
  case " $logs " in *" $1 "*) echo "sops-install-secrets: $2" ;; esac
}

begin() {
  if [ "${NIXOS_ACTION:-}" = dry-activate ]; then
    echo "would open the secrets of $link"
    exit 0
  fi
  mkdir -p "$store"
  if ! mountpoint -q "$store"; then
    mount -t "$filesystem" -o nodev,nosuid,mode=0751 none "$store"
  fi
  chmod 0751 "$store"

  local newest
  newest=$(find "$store" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort -n | tail -n 1)
  generation=$store/$((${newest:-0} + 1))
  mkdir -m 0751 "$generation"
  identities=$store/age-keys.txt
  trap 'rm -rf "$generation" "$identities"' EXIT
  (umask 077 && : > "$identities")
  export SOPS_AGE_KEY_FILE=$identities
}

requireFile() {
  [ -r "$1" ] || fail "cannot read ssh key '$1': the file is missing"
}

importSshKey() {
  requireFile "$1"
  ssh-to-age -private-key -i "$1" >> "$identities" || fail "cannot convert ssh key '$1' to an age identity"
  logged keyImport "imported $1 as an age identity"
}

importKeyFile() {
  [ -r "$1" ] || fail "cannot read keyfile '$1'"
  cat "$1" >> "$identities"
  echo >> "$identities"
}

# decrypt FILE FORMAT OUTPUT_FORMAT
decrypt() {
  sops decrypt --input-type "$2" --output-type "$3" "$1" ||
    fail "failed to decrypt '$1' with the keys of this host"
}

# The value of a key in a JSON document on standard input.
lookUp='
  reduce ($key | split("/"))[] as $part (.;
    if type == "object" then .[$part]
    elif type == "array" then .[$part | tonumber]
    else null end)
  | if type == "string" then .
    elif type == "number" or type == "boolean" then tostring
    elif . == null then error("not found")
    else error("not a single value") end'

# place NAME MODE OWNER GROUP PATH RESTART_UNITS RELOAD_UNITS: gives a written file its owner and
# its other path, and notes the units that have to know of a change.
place() {
  local name=$1 mode=$2 owner=$3 group=$4 path=$5 restart=$6 reload=$7 unit
  chown "$owner:$group" "$generation/$name" || fail "'$name' cannot belong to $owner:$group"
  chmod "$mode" "$generation/$name"
  if [ "$path" != "$link/$name" ]; then
    mkdir -p "$(dirname "$path")"
    ln -sfn "$link/$name" "$path"
  fi
  if [ -e "$link" ] && ! cmp -s "$link/$name" "$generation/$name"; then
    logged secretChanges "changed: $name"
    mkdir -p /run/nixos
    for unit in $restart; do echo "$unit" >> /run/nixos/activation-restart-list; done
    for unit in $reload; do echo "$unit" >> /run/nixos/activation-reload-list; done
  fi
}

parentOf() {
  (umask 026 && mkdir -p "$(dirname "$generation/$1")")
}

# installSecret NAME KEY FILE FORMAT MODE OWNER GROUP PATH RESTART_UNITS RELOAD_UNITS
installSecret() {
  local name=$1 key=$2 file=$3 format=$4
  parentOf "$name"
  umask 077
  if [ "$format" != yaml ] && [ "$format" != json ] || [ -z "$key" ]; then
    decrypt "$file" "$format" "$format" > "$generation/$name"
  else
    [ -n "${decrypted[$file]+x}" ] || decrypted[$file]=$(decrypt "$file" "$format" json)
    printf '%s' "${decrypted[$file]}" | jq -j --arg key "$key" "$lookUp" > "$generation/$name" ||
      fail "the key '$key' cannot be read from '$file'"
  fi
  umask 022
  shift 4
  place "$name" "$@"
}

# placeholder TEXT NAME: TEXT in templates stands for the secret NAME.
placeholder() {
  placeholders[$1]=$2
}

# renderTemplate NAME FILE MODE OWNER GROUP PATH RESTART_UNITS RELOAD_UNITS
renderTemplate() {
  local name=rendered/$1 text value mark
  text=$(cat "$2" && echo .)
  text=${text%.}
  for mark in "${!placeholders[@]}"; do
    value=$(cat "$generation/${placeholders[$mark]}" && echo .)
    text=${text//"$mark"/"${value%.}"}
  done
  parentOf "$name"
  (umask 077 && printf '%s' "$text" > "$generation/$name")
  shift 2
  place "$name" "$@"
}

# The link changes in one step; older generations go.
finish() {
  rm -f "$identities"
  trap - EXIT
  ln -sfn "$generation" "$link.new"
  mv -T "$link.new" "$link"
  [ "$keep" -eq 0 ] || find "$store" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort -n | head -n "-$keep" |
    while read -r old; do
      rm -rf "${store:?}/$old"
    done
}
