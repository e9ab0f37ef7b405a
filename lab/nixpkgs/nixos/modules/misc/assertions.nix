# What modules find wrong with a configuration (`assertions`) or doubtful (`warnings`).
# system/activation/top-level.nix shows them when the system is built.
{ lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options = {
    assertions = mkOption {
      type = types.listOf types.unspecified;
      internal = true;
      default = [ ];
      description = "Conditions that must hold, each with the message for when it does not.";
    };
    warnings = mkOption {
      type = types.listOf types.str;
      internal = true;
      default = [ ];
      description = "Messages shown when the system is built.";
    };
  };
}
