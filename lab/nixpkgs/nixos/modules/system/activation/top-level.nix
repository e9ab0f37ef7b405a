# What the configuration builds: the system itself, and images made of it.
{
  config,
  lib,
  options,
  pkgs,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils.options) packages;

  failed = map (a: a.message) (lib.filter (a: !a.assertion) config.assertions);
  # Refuses a configuration that its own modules find wrong.
  checked =
    value:
    if failed != [ ] then
      throw "\nFailed assertions:\n${lib.concatMapStringsSep "\n" (message: "- ${message}") failed}"
    else
      lib.showWarnings config.warnings value;
in
{
  options.system = {
    build = mkOption {
      type = types.submodule { freeformType = types.lazyAttrsOf types.unspecified; };
      default = { };
      description = "What can be built from the configuration.";
    };
    extraDependencies = mkOption {
      type = types.listOf types.pathInStore;
      default = [ ];
      description = "Store paths that belong to the system's closure.";
    };
    checks = packages "Derivations that must build before the system does.";
    systemBuilderCommands = mkOption {
      type = types.lines;
      internal = true;
      default = "";
      description = "Shell commands that add to the system's tree.";
    };
  };

  config.system.build.toplevel = checked (
    import ../../../../system/toplevel.nix {
      inherit
        config
        lib
        options
        pkgs
        ;
    }
  );
}
