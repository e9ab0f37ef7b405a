# What one wants on a machine that is being installed or repaired.
{ pkgs, ... }:
{
  environment.systemPackages = with pkgs; [
    cryptsetup
    e2fsprogs
    efibootmgr
    file
    gptfdisk
    jq
    parted
    rsync
    tree
  ];
  boot.supportedFilesystems = [
    "btrfs"
    "ext4"
    "vfat"
  ];
}
