# The installer as a bootable image, for UEFI and BIOS.
#
# The store of the live system is a squashfs; a small shell script is its stage 1 (there is nothing
# to unlock), and activation and systemd follow as on an installed system.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  kernel = config.boot.kernelPackages.kernel;
  toplevel = config.system.build.toplevel;
  image = config.isoImage;

  initrd = import ./live-initrd.nix { inherit config pkgs; };
in
pkgs.runCommand config.image.fileName
  {
    inherit initrd;
    kernel = "${kernel}/bzImage";
    params = "init=${toplevel}/init ${toString config.boot.kernelParams}";
    volume = image.volumeID;
    compression = if image.squashfsCompression == null then "-no-compression" else "-comp ${image.squashfsCompression}";
    closure = pkgs.closureInfo { rootPaths = [ toplevel ] ++ map (entry: entry.object or entry) image.storeContents; };
    contents = lib.concatMapStrings (file: "${file.source}\t${file.target}\n") image.contents;
    nativeBuildInputs = [ pkgs.image-tools ];
    imageTools = pkgs.image-tools;
    inherit (config.image) fileName;
    passthru.isoName = config.image.fileName;
  }
  (builtins.readFile ./programs/make-iso.sh)
