# The installation image without a graphical session.
{ lib, ... }:
{
  imports = [ ./installation-cd-base.nix ];

  isoImage.edition = lib.mkDefault "minimal";
}
