# The installer as a system in memory.
{ lib, ... }:
{
  imports = [
    ./netboot.nix
    ../../profiles/base.nix
    ../../profiles/installation-device.nix
  ];

  system.stateVersion = lib.mkDefault lib.trivial.release;
}
