# GRUB's switch. It is on until another boot loader is chosen, as in NixOS; the miniature cannot
# install it, and says so.
{ config, lib, utils, ... }:
let
  inherit (utils.options) bool string strings;
  cfg = config.boot.loader.grub;
in
{
  options.boot.loader.grub = {
    enable = bool (!config.boot.isContainer) "Whether GRUB starts the system.";
    device = string "" "The disk it is installed to.";
    devices = strings [ ] "The disks it is installed to.";
    efiSupport = bool false "Whether it is installed for UEFI.";
  };

  config = lib.mkIf cfg.enable {
    boot.loader.grub.devices = lib.optional (cfg.device != "") cfg.device;
    assertions = [
      {
        assertion = cfg.devices != [ ];
        message = "The system would not boot: set boot.loader.systemd-boot.enable, or boot.loader.grub.devices.";
      }
      {
        assertion = cfg.devices == [ ];
        message = "boot.loader.grub: the miniature nixpkgs installs systemd-boot only.";
      }
    ];
  };
}
