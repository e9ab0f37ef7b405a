# What all installation images share.
{ lib, ... }:
{
  imports = [
    ./iso-image.nix
    ../../profiles/base.nix
    ../../profiles/installation-device.nix
  ];

  isoImage = {
    makeEfiBootable = true;
    makeUsbBootable = true;
  };
  system.stateVersion = lib.mkDefault lib.trivial.release;
}
