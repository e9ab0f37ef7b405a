# Firmware for devices. The miniature has none: virtual machines need none.
{ lib, ... }:
let
  switch =
    description:
    lib.mkOption {
      type = lib.types.bool;
      default = false;
      inherit description;
    };
in
{
  options.hardware = {
    enableAllFirmware = switch "Whether all firmware is there.";
    enableRedistributableFirmware = switch "Whether firmware that may be passed on is there.";
  };
}
