# systemd-boot.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool lines nullOr;
  cfg = config.boot.loader.systemd-boot;
  esp = config.boot.loader.efi.efiSysMountPoint;

  mountPoint =
    default: description:
    mkOption {
      type = types.nullOr types.str;
      inherit default description;
    };
in
{
  options.boot.loader.systemd-boot = {
    enable = bool false "Whether systemd-boot starts the system.";
    editor = bool true "Whether the command line can be edited in the menu.";
    graceful = bool false "Whether errors of the firmware are ignored.";
    configurationLimit = nullOr types.int "How many generations the menu shows at most.";
    consoleMode = mkOption {
      type = types.enum [
        "0"
        "1"
        "2"
        "5"
        "auto"
        "max"
        "keep"
      ];
      default = "keep";
      description = "The resolution of the menu.";
    };
    xbootldrMountPoint = mountPoint null "Where a partition for kernels is mounted.";
    extraEntries = mkOption {
      type = types.attrsOf types.lines;
      default = { };
      description = "Further entries of the menu.";
    };
    extraFiles = mkOption {
      type = types.attrsOf types.path;
      default = { };
      description = "Further files of the ESP.";
    };
    extraInstallCommands = lines "Shell commands after the boot loader is installed.";
    memtest86.enable = bool false "Whether the menu offers a test of the memory.";
  };

  config = lib.mkIf cfg.enable {
    boot.loader.grub.enable = lib.mkDefault false;
    boot.supportedFilesystems = [ "vfat" ];
    assertions = [
      {
        assertion = config.fileSystems ? ${esp};
        message = "boot.loader.systemd-boot needs a file system mounted at ${esp}.";
      }
      {
        assertion = !cfg.memtest86.enable && cfg.xbootldrMountPoint == null;
        message = "boot.loader.systemd-boot: the miniature nixpkgs has neither memtest86 nor xbootldrMountPoint.";
      }
    ];
  };
}
