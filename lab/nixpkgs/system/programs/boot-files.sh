# What installers of boot loaders share. They are sourced after this, with limit (generations that
# the menu shows, 0 for all) and secrets (lines of a path in the initrd, a tab, and the file).

profile=/nix/var/nix/profiles/system

# The numbers of the newest generations, the oldest first.
generations() {
  find "$(dirname "$profile")" -maxdepth 1 -name 'system-*-link' | sed 's/.*-\([0-9]*\)-link$/\1/' | sort -n |
    { if [ "$limit" -gt 0 ]; then tail -n "$limit"; else cat; fi; }
}

system_of() { readlink -f "$profile-$1-link"; }

# Written beside and renamed: a boot partition may have no journal.
replace() {
  if ! cmp -s "$1" "$2"; then
    cp "$1" "$2.tmp"
    mv -f "$2.tmp" "$2"
  fi
}

# Files that only the initrd needs and the store must not hold: an archive to load beside the initrd.
archive_secrets() {
  local root target source
  root=$(mktemp -d)
  chmod 700 "$root"
  while IFS=$'\t' read -r target source; do
    if [ ! -e "$source" ]; then
      echo "boot.initrd.secrets: $source does not exist" >&2
      rm -rf "$root"
      return 1
    fi
    install -D -m 600 "$source" "$root/$target"
  done < "$secrets"
  # Not the root itself: it is closed to everyone but root.
  (umask 077 && cd "$root" && find . -mindepth 1 -print0 | sort -z | cpio --quiet -o -0 -H newc -R +0:+0 > "$1.tmp")
  rm -rf "$root"
  mv -f "$1.tmp" "$1"
}
