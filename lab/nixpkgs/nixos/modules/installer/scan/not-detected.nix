# Imported by a generated hardware configuration: what cannot be detected.
{ lib, ... }:
{
  hardware.enableRedistributableFirmware = lib.mkDefault true;
}
