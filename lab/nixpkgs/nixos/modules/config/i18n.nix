# The language of messages and formats.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) string strings;
  cfg = config.i18n;
in
{
  options.i18n = {
    defaultLocale = string "en_US.UTF-8" "The locale of the system.";
    extraLocaleSettings = mkOption {
      type = types.attrsOf types.str;
      default = { };
      description = "Variables such as LC_TIME that differ from the default.";
    };
    supportedLocales = strings [ "all" ] "Locales that are built.";
  };

  config.environment = {
    sessionVariables = {
      LANG = cfg.defaultLocale;
    }
    // cfg.extraLocaleSettings;
    etc."locale.conf".text = lib.concatLines (
      lib.mapAttrsToList (name: value: "${name}=${value}") (
        { LANG = cfg.defaultLocale; } // cfg.extraLocaleSettings
      )
    );
  };
}
