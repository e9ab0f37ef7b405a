# git.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool;
  cfg = config.programs.git;
in
{
  options.programs.git = {
    enable = bool false "Whether git is there.";
    package = mkOption {
      type = types.package;
      default = pkgs.git;
      description = "The git to use.";
    };
    config = mkOption {
      type = types.attrsOf (types.attrsOf types.anything);
      default = { };
      description = "Settings of all users.";
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    environment.etc.gitconfig = lib.mkIf (cfg.config != { }) {
      text = lib.generators.toGitINI cfg.config;
    };
  };
}
