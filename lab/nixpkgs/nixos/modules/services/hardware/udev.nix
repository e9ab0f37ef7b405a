# udev rules, and firmware for devices.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool lines packages;
  cfg = config.services.udev;
in
{
  options = {
    services.udev = {
      enable = bool true "Whether udev runs.";
      packages = mkOption {
        type = types.listOf types.path;
        default = [ ];
        description = "Packages that bring rules.";
      };
      extraRules = lines "Rules.";
    };
    hardware.firmware = packages "Packages with firmware.";
  };

  config.environment.etc."udev/rules.d/99-local.rules" = lib.mkIf (cfg.extraRules != "") {
    text = cfg.extraRules;
  };
}
