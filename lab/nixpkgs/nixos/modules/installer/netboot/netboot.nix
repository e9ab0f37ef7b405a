# A system that runs from memory alone: kernel and initrd, started over the network or by another
# system's kexec.
{
  config,
  lib,
  pkgs,
  ...
}:
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
    system.build.netbootRamdisk = import ../../../../system/netboot.nix { inherit config pkgs; };
    # NixOS has these too; what landfall and its like take is the tarball of nixos-images.
    system.build.kexecTree = throw "the miniature nixpkgs has no kexec tree: use its nixos-images";
    system.build.kexecTarball = lib.mkDefault (
      throw "the miniature nixpkgs has no kexec tarball: use its nixos-images"
    );
  };
}
