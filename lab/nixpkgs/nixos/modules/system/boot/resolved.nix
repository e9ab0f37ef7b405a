# systemd-resolved.
{
  config,
  lib,
  utils,
  ...
}:
let
  inherit (utils.options) bool;
  cfg = config.services.resolved;
in
{
  options.services.resolved = {
    enable = bool false "Whether systemd-resolved answers DNS questions.";
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
