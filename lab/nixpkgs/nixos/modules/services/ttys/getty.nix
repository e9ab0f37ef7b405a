# Logins on consoles.
{ config, lib, utils, ... }:
let
  inherit (lib) types;
  inherit (utils.options) lines nullOr string strings;
  cfg = config.services.getty;
in
{
  options.services.getty = {
    autologinUser = nullOr types.str "Who is logged in without asking.";
    greetingLine = string (''<<< Welcome to ${config.system.nixos.distroName} ${config.system.nixos.label} (\m) - \l >>>'') "The first line.";
    helpLine = lines "What follows.";
    extraArgs = strings [ ] "Arguments of agetty.";
  };

  config.environment.etc.issue.text = ''
    ${cfg.greetingLine}
    ${cfg.helpLine}
  '';
}
