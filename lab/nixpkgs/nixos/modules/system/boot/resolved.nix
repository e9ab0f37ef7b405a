# systemd-resolved.
{
  config,
  lib,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.resolved;
in
{
  options.services.resolved = {
    enable = mkOption {
      type = types.bool;
      default = false;
      description = "Whether systemd-resolved answers DNS questions.";
    };
    settings.Resolve = utils.systemdUtils.unitOptions.section;
  };

  config = lib.mkIf cfg.enable {
    services.resolved.settings.Resolve = lib.mkIf (config.networking.nameservers != [ ]) {
      DNS = lib.mkDefault (toString config.networking.nameservers);
    };
    environment.etc."systemd/resolved.conf".text =
      utils.systemdUtils.sectionText "Resolve" cfg.settings.Resolve;
  };
}
