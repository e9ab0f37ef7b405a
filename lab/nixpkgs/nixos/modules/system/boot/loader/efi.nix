# The ESP.
{ lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.boot.loader.efi = {
    canTouchEfiVariables = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the firmware's boot entries may be changed.";
    };
    efiSysMountPoint = mkOption {
      type = types.str;
      default = "/boot";
      description = "Where the ESP is mounted.";
    };
  };
}
