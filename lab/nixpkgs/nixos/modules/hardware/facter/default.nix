# Hardware as nixos-facter reports it: the modules that the machine needs to boot.
{ config, lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool nullOr;
  cfg = config.hardware.facter;
  hardware = cfg.report.hardware or { };

  # The drivers of all devices of some kinds.
  driversOf =
    kinds:
    lib.unique (
      lib.concatMap (kind: lib.concatMap (device: device.driver_modules or [ ]) (hardware.${kind} or [ ])) kinds
    );
in
{
  options.hardware.facter = {
    enable = bool (cfg.reportPath != null) "Whether the report counts.";
    reportPath = nullOr types.path "The report, a JSON file.";
    report = mkOption {
      type = types.attrsOf types.anything;
      default = if cfg.reportPath == null then { } else builtins.fromJSON (builtins.readFile cfg.reportPath);
      description = "The report.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.report ? version && cfg.report ? hardware;
        message = "hardware.facter.reportPath: the file is not a report of nixos-facter.";
      }
    ];

    boot.initrd.availableKernelModules = driversOf [
      "disk"
      "storage_controller"
      "usb_controller"
      "firewire_controller"
    ];
    nixpkgs.hostPlatform = lib.mkIf (cfg.report ? system) (lib.mkDefault cfg.report.system);
  };
}
