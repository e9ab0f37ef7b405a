# Kernel parameters that are set while it runs.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.boot.kernel.sysctl = mkOption {
    type = types.attrsOf (
      types.nullOr (
        types.oneOf [
          types.bool
          types.str
          types.int
        ]
      )
    );
    default = { };
    description = "Values of /proc/sys, by their dotted names.";
  };

  config.environment.etc."sysctl.d/60-nixos.conf".text = lib.concatStrings (
    lib.mapAttrsToList (
      name: value:
      lib.optionalString (value != null) "${name}=${
        if value == false then "0" else toString value
      }\n"
    ) config.boot.kernel.sysctl
  );
}
