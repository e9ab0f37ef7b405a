# Manuals. The miniature has none, whatever is switched on.
{ lib, ... }:
let
  switch =
    what:
    lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = "Whether ${what} are there.";
    };
in
{
  options.documentation = {
    enable = switch "manuals";
    man.enable = switch "manual pages";
    info.enable = switch "info pages";
    doc.enable = switch "other documents";
    nixos.enable = switch "the manuals of NixOS";
  };
}
