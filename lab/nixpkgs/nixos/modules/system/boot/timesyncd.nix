# The clock, set from the network.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool;
  cfg = config.services.timesyncd;
in
{
  options.services.timesyncd = {
    enable = bool true "Whether systemd-timesyncd runs.";
    servers = mkOption {
      type = types.nullOr (types.listOf types.str);
      default = config.networking.timeServers;
      description = "The servers it asks.";
    };
  };

  config.environment.etc."systemd/timesyncd.conf" = lib.mkIf cfg.enable {
    text = "[Time]\nNTP=${toString cfg.servers}\n";
  };
}
