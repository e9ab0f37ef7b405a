# The console: its keyboard and font.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.console;
in
{
  options.console = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether virtual consoles are set up.";
    };
    keyMap = mkOption {
      type = types.either types.str types.path;
      default = "us";
      description = "The keyboard layout.";
    };
    font = mkOption {
      type = types.nullOr (types.either types.str types.path);
      default = null;
      description = "The font.";
    };
    packages = mkOption {
      type = types.listOf types.package;
      default = [ ];
      description = "Packages with keyboard layouts and fonts.";
    };
    earlySetup = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the initrd sets the console up.";
    };
    colors = mkOption {
      type = types.listOf (types.strMatching "[[:xdigit:]]{6}");
      default = [ ];
      description = "The sixteen colours.";
    };
    useXkbConfig = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the layout is that of the graphical session.";
    };
  };

  config.environment.etc."vconsole.conf" = lib.mkIf cfg.enable {
    text =
      "KEYMAP=${cfg.keyMap}\n" + lib.optionalString (cfg.font != null) "FONT=${cfg.font}\n";
  };
}
