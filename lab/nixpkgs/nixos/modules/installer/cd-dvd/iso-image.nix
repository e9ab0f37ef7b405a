# An ISO that boots the configuration from a squashfs, everything that changes kept in memory.
{
  config,
  lib,
  options,
  pkgs,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool string;
  cfg = config.isoImage;

  joined = words: lib.concatStringsSep "-" (lib.filter (word: word != "") words);

  files =
    description:
    mkOption {
      type = types.listOf types.raw;
      default = [ ];
      inherit description;
    };
in
{
  imports = [ ../live-store.nix ];

  options.isoImage = {
    squashfsCompression = mkOption {
      type = types.nullOr types.str;
      default = "zstd -Xcompression-level 19";
      description = "How the squashfs is packed.";
    };
    edition = string "" "A word in the name of the image.";
    volumeID = string (joined [
      "nixos"
      cfg.edition
      config.system.nixos.release
      pkgs.stdenv.hostPlatform.linuxArch
    ]) "The label of the volume.";
    contents = files "Files to put on the image: source and target.";
    storeContents = files "Store paths in the squashfs beside the system.";
    makeEfiBootable = bool false "Whether UEFI machines can start it.";
    makeBiosBootable = bool true "Whether BIOS machines can start it.";
    makeUsbBootable = bool false "Whether it can be started from a USB drive.";
  };

  options.image = {
    baseName = string (joined [
      "nixos"
      cfg.edition
      config.system.nixos.label
      pkgs.stdenv.hostPlatform.system
    ]) "The name of the image without its extension.";
    extension = string "iso" "The extension.";
    fileName = string "${config.image.baseName}.${config.image.extension}" "The name of the image.";
    filePath = string "iso/${config.image.fileName}" "Where the image is in the build's result.";
  };

  config = {
    boot.loader.timeout = lib.mkDefault 10;
    boot.initrd.availableKernelModules = [ "iso9660" ];
    fileSystems = lib.mkImageMediaOverride {
      "/iso" = {
        device = "/dev/root";
        neededForBoot = true;
        noCheck = true;
        fsType = "iso9660";
      };
      "/nix/.ro-store".device = "/sysroot/iso/nix-store.squashfs";
    };
    system.build.isoImage = import ../../../../system/iso.nix {
      inherit
        config
        lib
        options
        pkgs
        ;
    };
  };
}
