# The journal.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) lines;
  cfg = config.services.journald;
in
{
  options.services.journald = {
    storage = mkOption {
      type = types.enum [
        "persistent"
        "volatile"
        "auto"
        "none"
      ];
      default = "persistent";
      description = "Where the journal lies.";
    };
    extraConfig = lines "Text of journald.conf.";
  };

  config.environment.etc."systemd/journald.conf".text = ''
    [Journal]
    Storage=${cfg.storage}
    ${cfg.extraConfig}
  '';
}
