# Swap devices and files.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool int nullOr;

  swapDevice =
    { config, options, ... }:
    {
      options = {
        device = mkOption {
          type = types.nonEmptyStr;
          description = "The device or file.";
        };
        label = mkOption {
          type = types.str;
          description = "The label, instead of the device.";
        };
        size = nullOr types.int "Size in MiB of a swap file to make.";
        priority = nullOr types.int "Used before others with smaller numbers.";
        randomEncryption = mkOption {
          type = types.coercedTo types.bool (enable: { inherit enable; }) (
            types.submodule {
              options.enable = bool false "Whether a new key encrypts the swap at each boot.";
              freeformType = types.attrsOf types.anything;
            }
          );
          default = false;
          description = "Encryption with a key that is forgotten.";
        };
        discardPolicy = mkOption {
          type = types.nullOr (
            types.enum [
              "once"
              "pages"
              "both"
            ]
          );
          default = null;
          description = "When freed pages are reported to the disk.";
        };
        options = mkOption {
          type = types.nonEmptyListOf types.nonEmptyStr;
          default = [ "defaults" ];
          description = "Options in fstab.";
        };
        realDevice = mkOption {
          type = types.path;
          internal = true;
          default = config.device;
          description = "The device in fstab.";
        };
      };
      config.device = lib.mkIf options.label.isDefined (
        lib.mkDefault "/dev/disk/by-label/${config.label}"
      );
    };
in
{
  options = {
    swapDevices = mkOption {
      type = types.listOf (types.submodule swapDevice);
      default = [ ];
      description = "Swap devices.";
    };
    zramSwap = {
      enable = lib.mkEnableOption "swap in compressed memory";
      memoryPercent = int 50 "Share of memory that it may use.";
    };
  };

  config.assertions = [
    {
      assertion = !config.zramSwap.enable;
      message = "zramSwap needs a kernel module that the miniature nixpkgs does not have.";
    }
  ];
}
