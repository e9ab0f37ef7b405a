# The live system as one initrd: stage 1, and the store in a squashfs behind it.
{ config, pkgs }:
let
  netboot = config.netboot;
in
pkgs.runCommand "initrd"
  {
    initrd = import ./live-initrd.nix { inherit config pkgs; };
    compression =
      if netboot.squashfsCompression == null then "-no-compression" else "-comp ${netboot.squashfsCompression}";
    closure = pkgs.closureInfo { rootPaths = [ config.system.build.toplevel ] ++ netboot.storeContents; };
    nativeBuildInputs = [ pkgs.image-tools ];
  }
  (builtins.readFile ./programs/make-netboot-initrd.sh)
