# udev rules, and firmware for devices.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.udev;
in
{
  options = {
    services.udev = {
      enable = mkOption {
        type = types.bool;
        default = true;
        description = "Whether udev runs.";
      };
      packages = mkOption {
        type = types.listOf types.path;
        default = [ ];
        description = "Packages that bring rules.";
      };
      extraRules = mkOption {
        type = types.lines;
        default = "";
        description = "Rules.";
      };
    };
    hardware.firmware = mkOption {
      type = types.listOf types.package;
      default = [ ];
      description = "Packages with firmware.";
    };
  };

  config.environment.etc."udev/rules.d/99-local.rules" = lib.mkIf (cfg.extraRules != "") {
    text = cfg.extraRules;
  };
}
