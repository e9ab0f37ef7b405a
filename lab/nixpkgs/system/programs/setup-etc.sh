# Makes /etc what the configuration says: links through /etc/static, and copies of the files that
# must not be links. Argument: the tree made by etc.nix. Files that others put there are left alone.
set -euo pipefail

tree=$1
record=/etc/.clean

ln -sfn "$tree/etc" /etc/.static
mv -fT /etc/.static /etc/static

# Links of an earlier configuration whose target is gone.
find /etc -type l -lname '/etc/static/*' ! -exec test -e {} \; -print0 | xargs -0r rm -f

# Copies of an earlier configuration that this one does not have.
if [ -e "$record" ]; then
  while IFS= read -r name; do
    [ -e "$tree/etc/$name" ] || rm -f "/etc/$name"
  done < "$record"
fi

declare -A copied=()
while IFS=$'\t' read -r name mode user group; do
  copied[$name]=1
  mkdir -p "$(dirname "/etc/$name")"
  install -m "$mode" -o "$user" -g "$group" "/etc/static/$name" "/etc/.new"
  mv -fT /etc/.new "/etc/$name"
done < "$tree/copies"
printf '%s\n' "${!copied[@]}" > "$record"

cd "$tree/etc"
find . -type l -printf '%P\n' | while IFS= read -r name; do
  [ -z "${copied[$name]-}" ] || continue
  [ "$(readlink "/etc/$name" 2> /dev/null)" != "/etc/static/$name" ] || continue
  folder=/etc/$name
  mkdir -p "${folder%/*}"
  [ ! -d "/etc/$name" ] || [ -L "/etc/$name" ] || rm -rf "/etc/$name"
  ln -sfn "/etc/static/$name" "/etc/$name"
done
