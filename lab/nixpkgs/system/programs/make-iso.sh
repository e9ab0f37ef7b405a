# Builder of the installer image (iso.nix).
set -euo pipefail

mkdir -p iso/boot/grub
# shellcheck disable=SC2046,SC2086
mksquashfs $(cat "$closure/store-paths") iso/nix-store.squashfs -all-root -no-progress -quiet \
  -mkfs-time 1 -all-time 1 $compression \
  -p "nix-path-registration f 444 0 0 cat $closure/registration" > /dev/null
cp "$kernel" iso/boot/bzImage
cp "$initrd/initrd" iso/boot/initrd
cat > iso/boot/grub/grub.cfg <<EOF
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=1
menuentry "NixOS Installer" {
  linux /boot/bzImage $params
  initrd /boot/initrd
}
EOF

grub=$imageTools/share/grub
modules="iso9660 normal linux search configfile serial terminal echo all_video part_gpt part_msdos fat"
printf 'search --file --set=root /nix-store.squashfs\nset prefix=($root)/boot/grub\n' > early.cfg
grub-mkimage -d "$grub/i386-pc" -O i386-pc-eltorito -p /boot/grub -o iso/boot/bios.img biosdisk $modules
grub-mkimage -d "$grub/x86_64-efi" -O x86_64-efi -p /boot/grub -c early.cfg -o BOOTX64.EFI $modules
truncate -s 4M iso/boot/efi.img
export MTOOLS_SKIP_CHECK=1
mformat -i iso/boot/efi.img ::
mmd -i iso/boot/efi.img ::/EFI ::/EFI/BOOT
mcopy -i iso/boot/efi.img BOOTX64.EFI ::/EFI/BOOT/

printf '%s' "$contents" | while IFS=$'\t' read -r source target; do
  mkdir -p "iso/$(dirname "$target")"
  cp -RL "$source" "iso/$target"
done

find iso -exec touch -hd @1 {} +
mkdir -p "$out/iso" "$out/nix-support"
xorriso -as mkisofs -quiet -r -J -V "$volume" \
  -b boot/bios.img -no-emul-boot -boot-load-size 4 -boot-info-table --grub2-boot-info \
  --grub2-mbr "$grub/i386-pc/boot_hybrid.img" \
  -eltorito-alt-boot -e boot/efi.img -no-emul-boot -append_partition 2 0xef iso/boot/efi.img \
  -o "$out/iso/$fileName" iso
echo "file iso $out/iso/$fileName" > "$out/nix-support/hydra-build-products"
