# The time zone.
{ config, lib, utils, ... }:
let
  inherit (lib) types;
  inherit (utils.options) bool nullOr;
in
{
  options = {
    time.timeZone = nullOr (types.strMatching "[^ ]*") "The time zone, or null for one that is set on the machine.";
    time.hardwareClockInLocalTime = bool false "Whether the machine's clock shows local time.";
  };

  config.environment = lib.mkIf (config.time.timeZone != null) {
    etc.timezone.text = config.time.timeZone;
  };
}
