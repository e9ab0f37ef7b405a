# Builder of the initrd (stage-1.nix). Copies what lists/ names out of the system's tree of
# programs, with the libraries, the kernel modules and the units of the configuration.

root=$PWD/root
mkdir -p "$root"/{dev,proc,sys,run,sysroot,tmp,var,root,nix/store} "$root"/usr/{bin,lib64,lib/x86_64-linux-gnu} \
  "$root"/etc/{modules-load.d,modprobe.d,systemd/system}
for dir in bin lib lib64; do ln -s "usr/$dir" "$root/$dir"; done
ln -s bin "$root/usr/sbin"
ln -s usr/bin "$root/sbin"
library_path=$sw/lib/x86_64-linux-gnu:$sw/lib/x86_64-linux-gnu/systemd

# add PATH: a file of the system's tree, and the libraries it is linked with.
add() {
  local target=$root/usr/$1 library
  [ ! -e "$target" ] || return 0
  mkdir -p "${target%/*}"
  cp -L "$sw/$1" "$target"
  chmod u+w "$target"
  [ "$(head -c 4 "$target" | tail -c 3)" = ELF ] || return 0
  for library in $("$loader" --library-path "$library_path" --list "$sw/$1" 2> /dev/null | sed -n 's|.* => \(/[^ ]*\) .*|\1|p'); do
    case $library in
      "$sw"/*) add_library "${library#"$sw/"}" ;;
      *) add_library "lib/x86_64-linux-gnu/${library##*/}" ;;
    esac
  done
}

add_library() {
  local target=$root/usr/$1
  [ -e "$target" ] || { mkdir -p "${target%/*}"; cp -L "$sw/$1" "$target"; }
}

add_programs() {
  local file
  for file in $(cat "$lists/files.txt") ${withBtrfs:+bin/btrfs lib/udev/rules.d/64-btrfs-dm.rules}; do
    add "$file"
  done
  if [ -n "$withLuks" ]; then
    add bin/systemd-cryptsetup
    add bin/dmsetup
    add lib/x86_64-linux-gnu/libcryptsetup.so.12
  fi
  cp -L "$loader" "$root/usr/lib64/ld-linux-x86-64.so.2"
  cp "$bash/bin/bash" "$busybox/bin/busybox" "$root/usr/bin/"
  ln -s bash "$root/usr/bin/sh"
  for file in $("$busybox/bin/busybox" --list); do
    [ -e "$root/usr/bin/$file" ] || ln -s busybox "$root/usr/bin/$file"
  done
  for file in modprobe insmod rmmod lsmod; do ln -sf kmod "$root/usr/bin/$file"; done
  ln -sf systemctl "$root/usr/bin/reboot"
  ln -s usr/lib/systemd/systemd "$root/init"
}

# Wanted modules and, by modules.dep, what they need. A name without a file is built in.
add_modules() {
  local tree version name path
  tree=$(echo "$kernelModules"/lib/modules/*)
  version=${tree##*/}
  mkdir -p "$root/usr/lib/modules/$version"
  for name in $modules; do
    path=$(sed -n "s|^\([^:]*/${name//[-_]/[-_]}\.ko\):.*|\1|p" "$tree/modules.dep" | head -n 1)
    [ -z "$path" ] || sed -n "s|^$path: *|$path |p" "$tree/modules.dep"
  done | tr ' ' '\n' | sort -u | while read -r path; do
    [ -n "$path" ] || continue
    mkdir -p "$root/usr/lib/modules/$version/${path%/*}"
    cp "$tree/$path" "$root/usr/lib/modules/$version/$path"
  done
  cp "$tree"/modules.{order,builtin,builtin.modinfo} "$root/usr/lib/modules/$version/"
  chmod -R u+w "$root/usr/lib/modules"
  "$loader" --library-path "$library_path" --argv0 depmod "$sw/bin/kmod" -b "$root" "$version"
  cp "$loadNow" "$root/etc/modules-load.d/nixos.conf"
  cp "$modprobeConfig" "$root/etc/modprobe.d/nixos.conf"
}

add_units() {
  local unit from=$sw/lib/systemd/system to=$root/usr/lib/systemd/system wants path
  mkdir -p "$to"/{sysinit,sockets,initrd}.target.wants
  for unit in $(cat "$lists/units.txt"); do
    cp -L "$from/$unit" "$to/$unit"
  done
  ln -s initrd.target "$to/default.target"
  ln -s reboot.target "$to/ctrl-alt-del.target"
  for wants in systemd-ask-password-console.path systemd-journald.service systemd-modules-load.service \
    systemd-udevd.service systemd-udev-trigger.service ${withLuks:+cryptsetup.target}; do
    ln -s "../$wants" "$to/sysinit.target.wants/$wants"
  done
  for wants in systemd-journald.socket systemd-journald-dev-log.socket systemd-udevd-control.socket systemd-udevd-kernel.socket; do
    ln -s "../$wants" "$to/sockets.target.wants/$wants"
  done
  cp "$activation" "$to/initrd-nixos-activation.service"
  ln -s ../initrd-nixos-activation.service "$to/initrd.target.wants/initrd-nixos-activation.service"
  add_own_units
}

# Units of the configuration come with their scripts; their PATH becomes the initrd's own.
add_own_units() {
  local path
  cp -RL "$units/." "$root/etc/systemd/system/"
  chmod -R u+w "$root/etc/systemd/system"
  find "$root/etc/systemd/system" -type f -exec sed -i 's|^Environment="PATH=.*|Environment="PATH=/usr/bin"|' {} +
  for path in $storePaths; do
    cp -R "$path" "$root/nix/store/"
  done
}

add_etc() {
  cp "$fstab" "$root/etc/fstab"
  cp "$crypttab" "$root/etc/crypttab"
  printf 'ID=nixos\nNAME=NixOS\nPRETTY_NAME="NixOS (initrd)"\n' > "$root/etc/initrd-release"
  ln -s initrd-release "$root/etc/os-release"
  printf 'root:x:0:0::/root:/bin/sh\n' > "$root/etc/passwd"
  printf 'root:x:0:\ntty:x:3:\ndisk:x:6:\nkmem:x:2:\nlp:x:20:\ncdrom:x:24:\ndialout:x:27:\naudio:x:17:\nvideo:x:26:\ninput:x:174:\nutmp:x:29:\ntape:x:25:\nkvm:x:302:\nrender:x:303:\nsgx:x:304:\n' > "$root/etc/group"
  printf 'root:!:1::::::\n' > "$root/etc/shadow"
  : > "$root/etc/machine-id"
  cp "$activateRoot" "$root/etc/activate-root"
}

add_programs
add_modules
add_units
add_etc
mkdir "$out"
find "$root" -exec touch -hd @1 {} +
(cd "$root" && find . | sort | cpio -o -H newc -R 0:0 --renumber-inodes --ignore-devno) > "$out/initrd"
