# Logins on consoles.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.getty;
in
{
  options.services.getty = {
    autologinUser = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = "Who is logged in without asking.";
    };
    greetingLine = mkOption {
      type = types.str;
      default = ''<<< Welcome to ${config.system.nixos.distroName} ${config.system.nixos.label} (\m) - \l >>>'';
      description = "The first line.";
    };
    helpLine = mkOption {
      type = types.lines;
      default = "";
      description = "What follows.";
    };
    extraArgs = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Arguments of agetty.";
    };
  };

  config.environment.etc.issue.text = ''
    ${cfg.greetingLine}
    ${cfg.helpLine}
  '';
}
