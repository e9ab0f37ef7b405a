#!/usr/bin/env bash
# Makes a plain Debian that knows nothing of nix, as providers rent it:
#
#   build.sh OUT.qcow2
#
# For UEFI, on one disk that is also the one to install on. Its host key is made at its first start
# and shown on the console; who may log in as root comes as a systemd credential from the machine.
set -euo pipefail

out=$1
suite=trixie
disk_mib=8192
esp_mib=256
root_mib=2560
packages=linux-image-cloud-amd64,initramfs-tools,systemd,systemd-sysv,systemd-boot-efi,udev,dbus,openssh-server
packages+=,iproute2,cpio,gzip,tar,sudo,util-linux,fdisk,procps,ca-certificates

work=$(mktemp -d "$(dirname "$out")/foreign.XXXXXX")
trap 'rm -rf "$work"' EXIT

main() {
  make_root
  configure
  make_disk
  qemu-img convert -q -f raw -O qcow2 "$work/disk" "$out.new"
  mv "$out.new" "$out"
}

make_root() {
  local mirror
  mirror=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' |
    awk '$1 == "Debian" && $2 !~ /security/ { print $2; exit }')
  mmdebstrap --quiet --variant=minbase --mode=root --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/{doc,man,locale}/*' "$suite" "$work/root" "$mirror"
}

configure() {
  local root=$work/root
  echo debian > "$root/etc/hostname"
  echo 'LABEL=root / ext4 defaults 0 1' > "$root/etc/fstab"
  printf '[Match]\nType=ether\n[Network]\nDHCP=ipv4\n' > "$root/etc/systemd/network/20-wired.network"
  rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/machine-id"
  : > "$root/etc/machine-id"
  cat > "$root/etc/systemd/system/show-host-key.service" <<'END'
[Unit]
Description=Make and show the SSH host key
Before=ssh.service

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key; ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub'
StandardOutput=journal+console

[Install]
WantedBy=multi-user.target
END
  systemctl --root="$root" --quiet enable systemd-networkd show-host-key ssh
  systemctl --root="$root" --quiet mask systemd-networkd-wait-online apt-daily.timer apt-daily-upgrade.timer e2scrub_reap
}

# GPT with a boot partition and a root, made without mounting anything.
make_disk() {
  local kernel initrd at
  kernel=("$work"/root/boot/vmlinuz-*)
  initrd=("$work"/root/boot/initrd.img-*)
  truncate -s "${disk_mib}M" "$work/disk"
  sfdisk --quiet "$work/disk" <<END
label: gpt
size=${esp_mib}MiB, type=uefi
size=${root_mib}MiB, type=linux
END
  truncate -s "${esp_mib}M" "$work/esp"
  mkfs.vfat -n ESP "$work/esp" > /dev/null
  printf 'title Debian\nlinux /linux\ninitrd /initrd\noptions root=LABEL=root console=ttyS0,115200 quiet\n' > "$work/entry"
  for at in EFI EFI/BOOT loader loader/entries; do mmd -i "$work/esp" "::$at"; done
  mcopy -i "$work/esp" "$work/root/usr/lib/systemd/boot/efi/systemd-bootx64.efi" ::EFI/BOOT/BOOTX64.EFI
  mcopy -i "$work/esp" "${kernel[0]}" ::linux
  mcopy -i "$work/esp" "${initrd[0]}" ::initrd
  mcopy -i "$work/esp" "$work/entry" ::loader/entries/debian.conf
  rm "${kernel[0]}" "${initrd[0]}"
  mke2fs -q -t ext4 -L root -d "$work/root" "$work/filesystem" "${root_mib}M"
  dd if="$work/esp" of="$work/disk" bs=1M seek=1 conv=notrunc,sparse status=none
  dd if="$work/filesystem" of="$work/disk" bs=1M seek=$((1 + esp_mib)) conv=notrunc,sparse status=none
}

main
