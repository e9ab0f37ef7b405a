# The time zone.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options = {
    time.timeZone = mkOption {
      type = types.nullOr (types.strMatching "[^ ]*");
      default = null;
      description = "The time zone, or null for one that is set on the machine.";
    };
    time.hardwareClockInLocalTime = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the machine's clock shows local time.";
    };
  };

  config.environment = lib.mkIf (config.time.timeZone != null) {
    etc.timezone.text = config.time.timeZone;
  };
}
