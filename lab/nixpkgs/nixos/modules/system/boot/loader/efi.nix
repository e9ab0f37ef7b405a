# The ESP.
{ utils, ... }:
let
  inherit (utils.options) bool string;
in
{
  options.boot.loader.efi = {
    canTouchEfiVariables = bool false "Whether the firmware's boot entries may be changed.";
    efiSysMountPoint = string "/boot" "Where the ESP is mounted.";
  };
}
