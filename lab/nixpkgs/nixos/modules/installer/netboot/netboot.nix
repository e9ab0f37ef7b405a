# A system that runs from memory alone: kernel and initrd, started by another system's kexec.
{ lib, ... }:
{
  imports = [ ../live-store.nix ];

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
    fileSystems = lib.mkImageMediaOverride {
      "/nix/.ro-store".device = "../nix-store.squashfs";
    };
    system.build.kexecTarball = throw "the lab builds no kexec images yet";
  };
}
