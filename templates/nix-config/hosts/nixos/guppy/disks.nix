# Stands apart from default.nix because nixos-installer imports it too: the
# minimal system and the full one must mean the same disks.
{
  imports = [ ../../common/disks/btrfs-luks-disk.nix ];

  # Erased by the installation. A name from /dev/disk/by-id stays the same when
  # disks are added or change their order; /dev/vda and the like may not.
  disko.devices.disk.main.device = "/dev/vda";
}
