# Builder of the initrd (stage-1.nix): programs and libraries, kernel modules, units and /etc.
# Works in few, large steps: a guest under emulation pays for every process.

root=$PWD/root
mkdir -p "$root"/{dev,proc,sys,run,sysroot,tmp,var,root,nix/store} "$root"/usr/{bin,lib,lib64} \
  "$root"/etc/{modules-load.d,modprobe.d,systemd/system}
ln -s usr/bin usr/lib usr/lib64 "$root/"
ln -s usr/bin "$root/sbin"
ln -s bin "$root/usr/sbin"

add_programs() {
  tar -C "$programs" -chf - $(cat $files | sort -u) | tar -C "$root/usr" -xf -
  chmod -R u+w "$root/usr"
  cp "$programs/lib64/ld-linux-x86-64.so.2" "$root/usr/lib64/"
  # Applets where there is no program of their own: the component has them as links.
  cp -P "$busybox"/bin/* applets/
  (cd "$root/usr/bin" && ls) | (cd applets && xargs rm -f)
  rm -f applets/sh applets/bash
  cp -P applets/* "$bash"/bin/* "$root/usr/bin/"
  for file in modprobe insmod rmmod lsmod; do ln -sf kmod "$root/usr/bin/$file"; done
  ln -sf systemctl "$root/usr/bin/reboot"
  ln -s usr/lib/systemd/systemd "$root/init"
}

# Wanted modules and, by modules.dep, what they need. A name without a file is built in.
add_modules() {
  local tree version
  tree=$(echo "$kernelModules"/lib/modules/*)
  version=${tree##*/}
  mkdir -p "$root/usr/lib/modules/$version"
  awk -v names="$modules" '
    BEGIN { n = split(names, list, " "); for (i = 1; i <= n; i++) { gsub(/-/, "_", list[i]); wanted[list[i]] } }
    { path = $1; sub(/:$/, "", path); name = path; sub(/.*\//, "", name); sub(/\.ko$/, "", name); gsub(/-/, "_", name)
      if (name in wanted) { print path; for (f = 2; f <= NF; f++) print $f } }' "$tree/modules.dep" | sort -u > module-list
  printf 'modules.%s\n' order builtin builtin.modinfo >> module-list
  tar -C "$tree" -cf - $(cat module-list) | tar -C "$root/usr/lib/modules/$version" -xf -
  chmod -R u+w "$root/usr/lib/modules"
  "$programs/lib64/ld-linux-x86-64.so.2" --library-path "$programs/lib/x86_64-linux-gnu" \
    --argv0 depmod "$programs/bin/kmod" -b "$root" "$version"
  printf '%s' "$loadNow" > "$root/etc/modules-load.d/nixos.conf"
  cp "$modprobeConfig" "$root/etc/modprobe.d/nixos.conf"
}

add_units() {
  local from=$programs/lib/systemd/system to=$root/usr/lib/systemd/system
  mkdir -p "$to"/{sysinit,sockets,initrd}.target.wants
  tar -C "$from" -chf - $(cat $unitLists) | tar -C "$to" -xf -
  chmod -R u+w "$to"
  ln -s initrd.target "$to/default.target"
  ln -s reboot.target "$to/ctrl-alt-del.target"
  ln -s ../systemd-ask-password-console.path ../systemd-journald.service ../systemd-modules-load.service \
    ../systemd-udevd.service ../systemd-udev-trigger.service ${withLuks:+../cryptsetup.target} "$to/sysinit.target.wants/"
  ln -s ../systemd-journald.socket ../systemd-journald-dev-log.socket ../systemd-udevd-control.socket \
    ../systemd-udevd-kernel.socket "$to/sockets.target.wants/"
  [ -z "$withNetwork" ] || ln -s ../systemd-networkd.service "$to/initrd.target.wants/"
  printf '%s' "$activation" > "$to/initrd-nixos-activation.service"
  ln -s ../initrd-nixos-activation.service "$to/initrd.target.wants/"
}

# Units of the configuration come with their scripts; their PATH becomes the initrd's own.
add_own_units() {
  cp -RL "$units/." "$root/etc/systemd/system/"
  chmod -R u+w "$root/etc/systemd/system"
  # systemd passes over a dependency that is no link.
  find "$root/etc/systemd/system" -type f -path '*.target.*/*' | while read -r file; do
    ln -sf "../${file##*/}" "$file"
  done
  find "$root/etc/systemd/system" -type f -print0 |
    xargs -0r sed -i 's|^Environment="PATH=.*|Environment="PATH=/usr/bin"|'
  [ -z "$storePaths" ] || cp -R $storePaths "$root/nix/store/"
}

add_etc() {
  printf '%s' "$fstab" > "$root/etc/fstab"
  printf '%s' "$crypttab" > "$root/etc/crypttab"
  printf 'ID=nixos\nNAME=NixOS\nPRETTY_NAME="NixOS (initrd)"\n' > "$root/etc/initrd-release"
  ln -s initrd-release "$root/etc/os-release"
  printf '%s\n' "root:x:0:0::/root:$rootShell" sshd:x:1:1::/run/sshd:/bin/false \
    systemd-network:x:152:152::/:/bin/false > "$root/etc/passwd"
  # The groups that rules of udev give devices to.
  printf '%s\n' root:x:0: tty:x:3: disk:x:6: kmem:x:2: lp:x:20: cdrom:x:24: tape:x:25: dialout:x:27: audio:x:17: \
    video:x:26: input:x:174: utmp:x:29: kvm:x:302: render:x:303: sgx:x:304: sshd:x:1: systemd-network:x:152: > "$root/etc/group"
  # No password fits; a locked account could not log in with a key either.
  printf '%s:*:1::::::\n' root sshd systemd-network > "$root/etc/shadow"
  : > "$root/etc/machine-id"
  cp "$activateRoot" "$root/etc/activate-root"
  cp -RL "$contents/." "$root/"
  chmod -R u+w "$root"
}

mkdir applets
add_programs
add_modules
add_units
add_own_units
add_etc
mkdir "$out"
find "$root" -print0 | xargs -0 touch -hd @1
(cd "$root" && find . | sort | cpio -o -H newc -R 0:0 --renumber-inodes --ignore-devno) > "$out/initrd"
