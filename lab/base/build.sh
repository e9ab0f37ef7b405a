#!/usr/bin/env bash
# Makes the component trees of the lab's guests from Debian's packages:
#
#   build.sh OUTDIR
#
# First step of `cargo xtask lab setup`; import.sh then adds the trees to the nix store.
# Packages are only unpacked: no maintainer script runs, so the result depends on the packages
# alone. OUTDIR/components/NAME-VERSION has a package's usr below its root (bin, lib, share) and
# its defaults in etc; OUTDIR/components.tsv lists name, folder and dependencies.
# $LANDFALL_LAB_CACHE/bin/sops is the sops binary that guests use.
set -euo pipefail
shopt -s nullglob

here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
cache=${LANDFALL_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/landfall-lab}
components=$out/components
suite=trixie
library_path=

main() {
  rm -rf "$components" "$out/unpacked" "$out"/whole* "$out/components.tsv"
  mkdir -p "$components" "$out/unpacked"
  download_packages
  unpack_packages
  merge_packages
  make_components
  make_initrd_list initrd-files
  make_initrd_list initrd-network
  make_kernel
  make_shell
  make_busybox
  make_certificates
  make_grub
  make_image_tools
  make_kexec_bundle
  make_own_programs
  rm -rf "$out/unpacked"
}

# The lines of a list without comments.
list() { sed 's/#.*//; /^[[:space:]]*$/d' "$1"; }

# A package manager with its own state: the host's stays untouched, and the suite may differ.
download_packages() {
  local apt=$out/apt mirror
  mirror=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' |
    awk '$1 == "Debian" && $2 !~ /security/ { print $2; exit }')
  mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/etc"
  : > "$apt/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" > "$apt/sources.list"
  local options=(
    -qq -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts="$apt/etc"
    -o Dir::Etc::preferencesparts="$apt/etc" -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status"
    -o Dir::Cache::archives="$apt/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
    -o APT::Install-Recommends=false -o APT::Architecture=amd64 -o APT::Sandbox::User=root
    -o Acquire::Languages=none -o Debug::NoLocking=true
  )
  apt-get "${options[@]}" update
  list "$here/packages.txt" | xargs apt-get "${options[@]}" --yes --download-only install > /dev/null
}

unpack_packages() {
  local unwanted
  unwanted=$(list "$here/unwanted.txt")
  export out unwanted
  # shellcheck disable=SC2016
  printf '%s\0' "$out"/apt/archives/*.deb | xargs -0 -P 2 -n 8 bash -euc '
    for deb; do
      name=$(dpkg-deb -f "$deb" Package)
      grep -qxF "$name" <<< "$unwanted" && continue
      dpkg-deb -x "$deb" "$out/unpacked/$name"
      dpkg-deb -f "$deb" Version Depends Pre-Depends Provides > "$out/unpacked/$name.control"
    done' unpack
}

# Joins packages that Debian splits and nixpkgs does not: merge.txt has the name of the whole and its parts.
merge_packages() {
  local whole parts part
  list "$here/merge.txt" | while read -r whole parts; do
    mkdir -p "$out/whole"
    for part in $parts; do
      cp -a "$out/unpacked/$part/." "$out/whole/"
      rm -r "$out/unpacked/$part"
      cat "$out/unpacked/$part.control" >> "$out/whole.control"
      rm "$out/unpacked/$part.control"
      echo "$part $whole" >> "$out/unpacked/merged"
    done
    mv "$out/whole" "$out/unpacked/$whole"
    mv "$out/whole.control" "$out/unpacked/$whole.control"
  done
}

# Turns each unpacked package into a component and writes the table of components.
make_components() {
  local control name
  for control in "$out"/unpacked/*.control; do
    name=$(basename "$control" .control)
    case $name in
      linux-image-* | busybox-static | bash-static | bash | grub*-* | ca-certificates) continue ;;
    esac
    make_component "$name"
  done
  library_path=$(printf '%s:' "$components"/*/lib/x86_64-linux-gnu "$components"/*/lib/x86_64-linux-gnu/systemd "$components"/*/lib)
}

# The folder of a component: the version without Debian's revision, which store names cannot hold.
component_dir() {
  local version
  version=$(sed -n 's/^Version: //p' "$out/unpacked/$1.control" | head -n 1 | sed 's/^[0-9]*://; s/[^0-9.a-z].*//; s/\.$//')
  echo "$components/$1-$version"
}

make_component() {
  local from=$out/unpacked/$1 to
  to=$(component_dir "$1")
  mkdir -p "$to"
  merge_usr "$from"
  prune "$from"
  [ -d "$from/usr" ] && cp -a "$from/usr/." "$to/"
  [ -d "$from/etc" ] && cp -a "$from/etc" "$to/etc"
  rm -rf "$from"
  relink "$to"
  deduplicate "$to"
  if [ "$1" = openssh ]; then
    mkdir -p "$to/libexec"
    ln -s ../lib/openssh/sftp-server "$to/libexec/sftp-server"
  fi
  # One folder for programs, as in nixpkgs; the other name stays valid.
  if [ -d "$to/sbin" ]; then
    mkdir -p "$to/bin"
    cp -an "$to/sbin/." "$to/bin/"
    rm -r "$to/sbin"
  fi
  register "$1" "$to"
}

# Packages still bring files outside /usr; guests have one merged tree.
merge_usr() {
  local dir
  for dir in bin sbin lib lib64; do
    if [ -d "$1/$dir" ] && [ ! -L "$1/$dir" ]; then
      mkdir -p "$1/usr/$dir"
      cp -a "$1/$dir/." "$1/usr/$dir/"
      rm -r "${1:?}/$dir"
    fi
  done
}

prune() {
  rm -rf "$1"/usr/share/{doc,man,info,locale,lintian,bug,bash-completion,zsh,fish,vim/vim*/doc,gitweb,perl5,polkit-1,pam-configs,initramfs-tools,apport,pixmaps,icons,applications,metainfo,menu,base-files,debconf,i18n,linda,doc-base,gdb,common-licenses} \
    "$1"/usr/lib/{dracut,dpkg,apt,debug} "$1"/usr/lib/udev/hwdb.d "$1"/usr/lib/systemd/catalog \
    "$1"/usr/lib/x86_64-linux-gnu/{gconv,audit,perl,sasl2} "$1"/usr/share/{initramfs-tools,mime,readline,gcc,keyrings} \
    "$1"/usr/include "$1"/usr/games "$1"/usr/src \
    "$1"/etc/{apt,cron.daily,cron.hourly,cron.weekly,dpkg,default,init.d,logrotate.d,kernel,initramfs-tools,bash_completion.d,xdg}
  rm -f "$1"/usr/lib/git-core/git-{http-push,imap-send,http-fetch,daemon} "$1"/usr/{lib/git-core,bin}/scalar
  find "$1" -name '*.a' -delete
}

# Absolute links would point into whatever root they are read under: make them relative.
relink() {
  local link target
  find "$1" -type l -lname '/*' | while read -r link; do
    target=$(readlink "$link")
    case $target in
      /dev/*) ;;
      /usr/* | /bin/* | /sbin/* | /lib/*)
        ln -sfn "$(realpath -ms --relative-to="$(dirname "$link")" "$1/${target#/usr}")" "$link" ;;
      *) rm "$link" ;;
    esac
  done
}

# A store keeps every copy of a program that a package brings twice (git, perl): link instead.
deduplicate() {
  local program copy
  for program in "$1"/bin/*; do
    for copy in "$1"/{bin,lib/git-core}/"$(basename "$program")"{,[0-9]*}; do
      if [ "$copy" != "$program" ] && [ ! -L "$copy" ] && [ ! -L "$program" ] && cmp -s "$program" "$copy"; then
        ln -sfn "$(realpath -ms --relative-to="$(dirname "$copy")" "$program")" "$copy"
      fi
    done
  done
}

# register NAME DIR: one line of the table. Of alternatives the first that is here counts.
register() {
  local relations dependency
  relations=$(sed -n 's/^\(Pre-\)\?Depends: //p' "$out/unpacked/$1.control" 2> /dev/null | tr ',' '\n' |
    sed 's/([^)]*)//g; s/:any//g; s/ //g') || true
  printf '%s\t%s\t' "$1" "$(basename "$2")"
  for dependency in $relations; do
    first_available "$dependency"
  done | sort -u | sed "/^$1\$/d" | paste -sd ' '
} >> "$out/components.tsv"

first_available() {
  local name
  for name in ${1//|/ }; do
    case $name in
      busybox-static) name=busybox ;;
      bash-static) name=bash ;;
      grub-* | linux-image-*) return ;;
      *) name=$(awk -v part="$name" '$1 == part { found = $2 } END { print found ? found : part }' "$out/unpacked/merged") ;;
    esac
    if [ -e "$out/unpacked/$name.control" ] || [ "$name" = busybox ]; then
      echo "$name"
      return
    fi
  done
}

# Runs a program of the components on this machine, with their libraries.
run_component_program() {
  local loader=("$components"/libc6-*/lib64/ld-linux-x86-64.so.2) program=("$components"/$1/bin/"$2")
  shift 2
  "${loader[0]}" --library-path "$library_path" "${program[0]}" "$@"
}

make_kernel() {
  local image version from modules kernel
  image=("$out"/unpacked/linux-image-*-cloud-amd64/boot/vmlinuz-*)
  version=${image[0]##*/vmlinuz-}
  from=$out/unpacked/linux-image-$version/usr/lib/modules/$version
  [ -d "$from" ] || from=$out/unpacked/linux-image-$version/lib/modules/$version
  kernel=$components/linux-kernel-${version%%[!0-9.]*}
  modules=$components/linux-modules-${version%%[!0-9.]*}
  mkdir -p "$kernel" "$modules/lib/modules"
  cp "${image[0]}" "$kernel/bzImage"
  cp -a "$from" "$modules/lib/modules/$version"
  rm -f "$modules/lib/modules/$version/"{build,source}
  find "$modules" -name '*.ko.xz' -print0 | xargs -0 -P 2 -n 64 xz -d
  index_modules "$modules" "$version"
  remove_other_modules "$modules/lib/modules/$version"
  index_modules "$modules" "$version"
  register linux-kernel "$kernel"
  register linux-modules "$modules"
}

index_modules() {
  mkdir -p "$1/lib/depmod.d"
  run_component_program 'kmod-[0-9]*' depmod -b "$1" "$2"
  rmdir "$1/lib/depmod.d"
}

# Keeps the modules of modules.txt and, by modules.dep, what they need.
remove_other_modules() {
  local patterns
  patterns=$(list "$here/modules.txt" | sed 's/[.]/\\./g; s/\*/.*/g; s/.*/^kernel\/&$/')
  awk -v patterns="$patterns" '
    BEGIN { n = split(patterns, p, "\n") }
    { path = $1; sub(/:$/, "", path)
      for (i = 1; i <= n; i++) if (path ~ p[i]) { keep[path]; for (f = 2; f <= NF; f++) keep[$f] } }
    END { for (path in keep) print path }' "$1/modules.dep" | sort > "$out/kept"
  (cd "$1" && find kernel -name '*.ko' | sort | comm -23 - "$out/kept" | xargs rm -f
    find kernel -type d -empty -delete)
  rm "$out/kept"
}

# The static shell tools that builders use, on any machine, under their usual names.
make_busybox() {
  local to applet
  to=$(component_dir busybox-static)
  to=${to/busybox-static/busybox}
  mkdir -p "$to/bin"
  merge_usr "$out/unpacked/busybox-static"
  cp "$out/unpacked/busybox-static/usr/bin/busybox" "$to/bin/"
  for applet in $("$to/bin/busybox" --list); do
    [ -e "$to/bin/$applet" ] || ln -s busybox "$to/bin/$applet"
  done
  register busybox "$to"
}

# The shell of guests and builders: static, so that scripts run before /usr is there, and on any machine.
make_shell() {
  local to name
  to=$(component_dir bash-static)
  to=${to/bash-static/bash}
  mkdir -p "$to/bin"
  merge_usr "$out/unpacked/bash-static"
  cp "$out/unpacked/bash-static/usr/bin/bash-static" "$to/bin/bash"
  ln -s bash "$to/bin/sh"
  register bash "$to"
}

make_certificates() {
  local to
  to=$(component_dir ca-certificates)
  mkdir -p "$to/etc/ssl/certs"
  find "$out/unpacked/ca-certificates/usr/share/ca-certificates" -name '*.crt' | LC_ALL=C sort |
    xargs cat > "$to/etc/ssl/certs/ca-certificates.crt"
  register ca-certificates "$to"
}

# GRUB for BIOS, without its modules' sources, fonts and the tools that nothing here calls.
make_grub() {
  local to
  to=$(component_dir grub-common)
  to=${to/grub-common/grub}
  mkdir -p "$to/bin" "$to/lib/grub/i386-pc"
  cp "$out"/unpacked/grub-common/usr/{bin/grub-editenv,bin/grub-mkrelpath,sbin/grub-probe} \
    "$out"/unpacked/grub2-common/usr/sbin/grub-install "$to/bin/"
  cp "$out"/unpacked/grub-pc-bin/usr/lib/grub/i386-pc/{*.mod,*.lst,*.sh,boot.img,diskboot.img,kernel.img,lzma_decompress.img} "$to/lib/grub/i386-pc/"
  echo 'Depends: libc6, libdevmapper1.02.1, libefiboot1t64, libefivar1t64, liblzma5' > "$out/unpacked/grub.control"
  register grub "$to"
}

# What makes an image runs on the machine that builds it, whatever that has: each program comes
# with its libraries and is started by their loader.
make_image_tools() {
  local to=$components/image-tools-1 name program loader
  mkdir -p "$to/bin" "$to/lib" "$to/libexec" "$to/share/grub"
  cp -a "$out"/unpacked/grub-common/usr/bin/grub-mkimage "$to/libexec/"
  cp -a "$out"/unpacked/grub-pc-bin/usr/lib/grub/i386-pc "$out"/unpacked/grub-efi-amd64-bin/usr/lib/grub/x86_64-efi "$to/share/grub/"
  find "$to/share/grub" \( -name '*.module' -o -name '*.exec' \) -delete
  cp -aL "$components"/squashfs-tools-*/bin/mksquashfs "$components"/xorriso-*/bin/xorriso "$components"/mtools-*/bin/mtools \
    "$components"/jq-*/bin/jq "$to/libexec/"
  loader=("$components"/libc6-*/lib64/ld-linux-x86-64.so.2)
  for program in "$to"/libexec/*; do
    "${loader[0]}" --library-path "$library_path" --list "$program" | awk '$3 ~ /^\// { print $3 }'
  done | sort -u | xargs cp -Lt "$to/lib"
  cp -L "${loader[0]}" "$to/lib/ld.so"
  for program in "$to"/libexec/*; do
    name=$(basename "$program")
    printf '#!/bin/sh\nhere=${0%%/*}/..\nexec "$here/lib/ld.so" --argv0 "%s" --library-path "$here/lib" "$here/libexec/%s" "$@"\n' \
      "$name" "$name" > "$to/bin/$name"
    chmod 755 "$to/bin/$name"
  done
  # mtools is one program that looks at the name it is called by.
  for name in mformat mcopy mmd; do
    sed "s/--argv0 \"mtools\"/--argv0 \"$name\"/" "$to/bin/mtools" > "$to/bin/$name"
    chmod 755 "$to/bin/$name"
  done
  rm "$to/bin/mtools"
  rm -rf "$components"/{squashfs-tools,xorriso,mtools}-*
  sed -i '/^\(squashfs-tools\|xorriso\|mtools\)\t/d' "$out/components.tsv"
  register image-tools "$to"
}

# A kexec that runs on any Linux: it comes with its libraries and their loader.
make_kexec_bundle() {
  local to=$components/kexec-bundle-1 loader program
  mkdir -p "$to/lib" "$to/libexec"
  loader=("$components"/libc6-*/lib64/ld-linux-x86-64.so.2)
  program=("$components"/kexec-tools-*/bin/kexec)
  cp -L "${program[0]}" "$to/libexec/kexec"
  "${loader[0]}" --library-path "$library_path" --list "${program[0]}" | awk '$3 ~ /^\// { print $3 }' | xargs cp -Lt "$to/lib"
  cp -L "${loader[0]}" "$to/lib/ld.so"
  cat > "$to/kexec" <<'END'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec "$here/lib/ld.so" --library-path "$here/lib" "$here/libexec/kexec" "$@"
END
  chmod 755 "$to/kexec"
  register kexec-bundle "$to"
}

# The files of an initrd with the libraries they are linked with: looking these up takes a machine
# without emulation no time, and a guest that builds its next system long.
make_initrd_list() {
  local to=$components/$1-1 loader file found
  loader=("$components"/libc6-*/lib64/ld-linux-x86-64.so.2)
  mkdir -p "$to"
  list "$here/$1.txt" | while read -r file; do
    found=("$components"/*/"$file")
    [ -e "${found[0]}" ] || { echo "$1.txt: no package has $file" >&2; exit 1; }
    echo "$file"
    [ "$(head -c 4 "${found[0]}" | tail -c 3)" != ELF ] || "${loader[0]}" --library-path "$library_path" --list "${found[0]}" |
      sed -n "s|.* => $components/[^/]*/\([^ ]*\) .*|\1|p"
  done | sort -u > "$to/files"
  register "$1" "$to"
}

make_own_programs() {
  local sops=$components/sops-3 convert=$components/ssh-to-age-1
  install -D -m 755 "$cache/bin/sops" "$sops/bin/sops"
  install -D -m 755 "$here/ssh-to-age" "$convert/bin/ssh-to-age"
  register sops "$sops"
  register ssh-to-age "$convert"
}

main
