# Builder of the netboot ramdisk (netboot.nix): an archive with the store, after that of stage 1.
set -euo pipefail

mkdir -p store "$out"
# shellcheck disable=SC2046,SC2086
mksquashfs $(cat "$closure/store-paths") store/nix-store.squashfs -all-root -no-progress -quiet \
  -mkfs-time 1 -all-time 1 $compression \
  -p "nix-path-registration f 444 0 0 cat $closure/registration" > /dev/null
cp "$initrd/initrd" "$out/initrd"
chmod u+w "$out/initrd"
# Archives in an initrd begin at multiples of four bytes.
pad() { truncate -s $((($(stat -c %s "$out/initrd") + 3) / 4 * 4)) "$out/initrd"; }
pad
touch -hd @1 store/nix-store.squashfs
(cd store && echo nix-store.squashfs | cpio -o -H newc -R 0:0 --renumber-inodes --ignore-devno) >> "$out/initrd"
pad
chmod 444 "$out/initrd"
