# A system that runs from memory alone: kernel and initrd, started by another system's kexec.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
{
  options.netboot = {
    squashfsCompression = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = "zstd -Xcompression-level 19";
      description = "How the squashfs is packed.";
    };
    storeContents = lib.mkOption {
      type = lib.types.listOf lib.types.raw;
      default = [ ];
      description = "Store paths in the squashfs beside the system.";
    };
  };

  config = {
    boot.loader.grub.enable = false;
    boot.initrd.availableKernelModules = [
      "squashfs"
      "overlay"
      "loop"
    ];
    fileSystems = lib.mkImageMediaOverride {
      "/" = {
        fsType = "tmpfs";
        options = [ "mode=0755" ];
      };
      "/nix/.ro-store" = {
        fsType = "squashfs";
        device = "../nix-store.squashfs";
        options = [ "loop" ];
        neededForBoot = true;
      };
      "/nix/.rw-store" = {
        fsType = "tmpfs";
        options = [ "mode=0755" ];
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
    system.build.kexecTarball = import ../../../../system/kexec.nix {
      inherit
        config
        lib
        options
        pkgs
        ;
    };
  };
}
