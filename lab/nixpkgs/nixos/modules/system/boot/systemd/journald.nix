# The journal.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
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
    extraConfig = mkOption {
      type = types.lines;
      default = "";
      description = "Text of journald.conf.";
    };
  };

  config.environment.etc."systemd/journald.conf".text = ''
    [Journal]
    Storage=${cfg.storage}
    ${cfg.extraConfig}
  '';
}
