# Sessions.
{ config, utils, ... }:
{
  options.services.logind.settings.Login = utils.systemdUtils.unitOptions.section;

  config.environment.etc."systemd/logind.conf".text =
    utils.systemdUtils.sectionText "Login" config.services.logind.settings.Login;
}
