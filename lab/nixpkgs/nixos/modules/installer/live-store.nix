# The root of a system that runs from an image: the store is read from a squashfs, and what is
# written lies in memory.
{ lib, ... }:
let
  inMemory = {
    fsType = "tmpfs";
    options = [ "mode=0755" ];
  };
in
{
  boot.loader.grub.enable = false;
  boot.initrd.availableKernelModules = [
    "loop"
    "overlay"
    "squashfs"
  ];
  fileSystems = lib.mkImageMediaOverride {
    "/" = inMemory;
    "/nix/.ro-store" = {
      fsType = "squashfs";
      options = [ "loop" ];
      neededForBoot = true;
    };
    "/nix/.rw-store" = inMemory // {
      neededForBoot = true;
    };
    "/nix/store" = {
      fsType = "overlay";
      device = "overlay";
      options = [
        "lowerdir=/nix/.ro-store"
        "upperdir=/nix/.rw-store/store"
        "workdir=/nix/.rw-store/work"
      ];
    };
  };
}
