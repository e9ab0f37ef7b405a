# Modules about options that changed their names, and about the names of modules.
lib:
let
  inherit (lib) showFiles showOption;
in
rec {
  # A module whose errors name `file`.
  setDefaultModuleLocation = file: module: {
    _file = file;
    imports = [ module ];
  };

  # Old names of options: definitions of the one become definitions of the other.
  mkRenamedOptionModule =
    from: to:
    { config, options, ... }:
    let
      source = lib.getAttrFromPath from options;
    in
    {
      options = lib.setAttrByPath from (
        lib.mkOption {
          visible = false;
          type = (lib.attrByPath to { type = lib.types.unspecified; } options).type;
          apply = _: lib.getAttrFromPath to config;
        }
      );
      config = lib.mkMerge [
        (lib.setAttrByPath to (
          lib.mkIf source.isDefined (
            lib.mkMerge (
              map (
                def:
                lib.mkDefinition {
                  inherit (def) file;
                  value = lib.mkOverride source.highestPrio def.value;
                }
              ) source.definitionsWithLocations
            )
          )
        ))
        {
          warnings = lib.optional source.isDefined (
            "The option `${showOption from}' defined in ${showFiles source.files} "
            + "has been renamed to `${showOption to}'."
          );
        }
      ];
    };

  mkRemovedOptionModule =
    from: advice:
    { options, ... }:
    let
      source = lib.getAttrFromPath from options;
    in
    {
      options = lib.setAttrByPath from (
        lib.mkOption {
          visible = false;
          apply = _: throw "The option `${showOption from}' has been removed. ${advice}";
        }
      );
      config.assertions = [
        {
          assertion = !source.isDefined;
          message = "The option `${showOption from}', set in ${showFiles source.files}, has been removed. ${advice}";
        }
      ];
    };
}
