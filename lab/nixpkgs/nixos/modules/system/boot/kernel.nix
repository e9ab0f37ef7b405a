# The kernel, its modules and its command line.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool int lines packages;
  cfg = config.boot;

  names =
    description:
    mkOption {
      type = types.listOf types.str;
      default = [ ];
      inherit description;
    };
in
{
  options = {
    boot = {
      kernelPackages = mkOption {
        type = types.raw;
        default = pkgs.linuxPackages;
        description = "The kernel and the modules built for it.";
      };
      kernelParams = mkOption {
        type = types.listOf (types.strMatching ''([^"[:space:]]|"[^"]*")+'');
        default = [ ];
        description = "Words of the kernel's command line.";
      };
      kernelModules = names "Modules loaded when the system starts.";
      extraModulePackages = packages "Packages with further modules.";
      blacklistedKernelModules = names "Modules that are not loaded by themselves.";
      extraModprobeConfig = lines "Text of modprobe.d.";
      consoleLogLevel = int 4 "How grave a message of the kernel must be to appear on the console.";
      initrd = {
        availableKernelModules = names "Modules that the initrd holds, loaded for the hardware that is found.";
        kernelModules = names "Modules that the initrd loads.";
        includeDefaultModules = bool true "Whether the modules of common hardware are in the initrd.";
      };
    };
  };

  config = {
    boot.kernelParams = [ "loglevel=${toString cfg.consoleLogLevel}" ];
    # The keyboards that a passphrase is typed on. Disk controllers come from the hardware
    # configuration, so that a wrong one shows.
    boot.initrd.availableKernelModules = lib.optionals cfg.initrd.includeDefaultModules [
      "atkbd"
      "usbhid"
      "hid_generic"
    ];
    boot.initrd.kernelModules = lib.optional cfg.initrd.includeDefaultModules "dm_mod";

    environment.etc."modules-load.d/nixos.conf".text = lib.concatLines cfg.kernelModules;
    environment.etc."modprobe.d/nixos.conf".text =
      lib.concatMapStrings (m: "blacklist ${m}\n") cfg.blacklistedKernelModules
      + cfg.extraModprobeConfig;
  };
}
