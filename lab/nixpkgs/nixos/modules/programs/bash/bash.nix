# bash.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool;
  cfg = config.programs.bash;

  text =
    description:
    mkOption {
      type = types.lines;
      default = "";
      inherit description;
    };
in
{
  options.programs.bash = {
    enable = bool true "Whether bash is set up.";
    shellAliases = mkOption {
      type = types.attrsOf (types.nullOr (types.either types.str types.path));
      default = { };
      description = "Aliases.";
    };
    shellInit = text "Commands of every shell.";
    loginShellInit = text "Commands of login shells.";
    interactiveShellInit = text "Commands of interactive shells.";
    promptInit = text "Commands that set the prompt.";
  };

  config = lib.mkIf cfg.enable {
    environment = {
      inherit (cfg) shellAliases shellInit loginShellInit;
      interactiveShellInit = cfg.interactiveShellInit + cfg.promptInit;
    };
  };
}
