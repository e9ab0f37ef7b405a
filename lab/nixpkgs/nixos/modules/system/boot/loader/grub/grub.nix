# GRUB's switch. It is on until another boot loader is chosen, as in NixOS; the miniature cannot
# install it, and says so.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.boot.loader.grub;
in
{
  options.boot.loader.grub = {
    enable = mkOption {
      type = types.bool;
      default = !config.boot.isContainer;
      description = "Whether GRUB starts the system.";
    };
    device = mkOption {
      type = types.str;
      default = "";
      description = "The disk it is installed to.";
    };
    devices = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "The disks it is installed to.";
    };
    efiSupport = mkOption {
      type = types.bool;
      default = false;
      description = "Whether it is installed for UEFI.";
    };
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
