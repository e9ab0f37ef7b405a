# The console: its keyboard and font.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool nullOr packages;
  cfg = config.console;
in
{
  options.console = {
    enable = bool true "Whether virtual consoles are set up.";
    keyMap = mkOption {
      type = types.either types.str types.path;
      default = "us";
      description = "The keyboard layout.";
    };
    font = nullOr (types.either types.str types.path) "The font.";
    packages = packages "Packages with keyboard layouts and fonts.";
    earlySetup = bool false "Whether the initrd sets the console up.";
    colors = mkOption {
      type = types.listOf (types.strMatching "[[:xdigit:]]{6}");
      default = [ ];
      description = "The sixteen colours.";
    };
    useXkbConfig = bool false "Whether the layout is that of the graphical session.";
  };

  config.environment.etc."vconsole.conf" = lib.mkIf cfg.enable {
    text =
      "KEYMAP=${cfg.keyMap}\n" + lib.optionalString (cfg.font != null) "FONT=${cfg.font}\n";
  };
}
