# Stage 1 of systems that run from an image: a shell and the modules that find it.
{ config, pkgs }:
pkgs.runCommand "initrd-live"
  {
    modules = "squashfs loop overlay isofs cdrom sr_mod sd_mod ahci ata_piix virtio_blk virtio_scsi nls_utf8";
    kernelModules = config.boot.kernelPackages.kernel.modules;
    init = ./programs/live-init.sh;
    inherit (pkgs) busybox;
  }
  (builtins.readFile ./programs/make-live-initrd.sh)
