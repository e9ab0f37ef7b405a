# What all boot loaders share.
{ lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.boot.loader.timeout = mkOption {
    type = types.nullOr types.int;
    default = 5;
    description = "Seconds that the menu waits; null for ever.";
  };
}
