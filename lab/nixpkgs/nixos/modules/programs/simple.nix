# Programs that are a package and a switch.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  names = [
    "htop"
    "less"
    "nano"
    "tmux"
    "vim"
  ];
  cfg = config.programs;
in
{
  options.programs = lib.genAttrs names (name: {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = builtins.elem name [
        "less"
        "nano"
      ];
      description = "Whether ${name} is there.";
    };
    package = lib.mkPackageOption pkgs name { };
  });

  config.environment.systemPackages = map (name: cfg.${name}.package) (
    lib.filter (name: cfg.${name}.enable) names
  );
}
