# Options of the kinds that are declared again and again: a default, then a description.
{ lib }:
let
  inherit (lib) mkOption types;

  of =
    type: default: description:
    mkOption { inherit type default description; };
in
{
  bool = of types.bool;
  string = of types.str;
  int = of types.int;
  strings = of (types.listOf types.str);
  nullOr = type: of (types.nullOr type) null;
  lines = of types.lines "";
  packages = of (types.listOf types.package) [ ];
}
