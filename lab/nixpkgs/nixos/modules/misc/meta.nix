# Facts about modules themselves; of no consequence for the system.
{ lib, ... }:
{
  options.meta = lib.mkOption {
    type = lib.types.submodule { freeformType = lib.types.attrsOf lib.types.unspecified; };
    internal = true;
    default = { };
    description = "Maintainers and documentation of modules.";
  };
}
