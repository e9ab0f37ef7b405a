# The NixOS module: a layout of disks in, file systems and the scripts that make them out.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.disko;

  layout = import ./types { inherit lib; };
  inherit (import ./scripts.nix { inherit lib pkgs layout; } cfg) scripts;

  # What each device adds to the configuration of the system.
  pieces = lib.concatMap layout.configOf (
    lib.attrValues cfg.devices.disk ++ lib.attrValues cfg.devices.nodev
  );
  collect = key: lib.mkIf cfg.enableConfig (lib.mkMerge (lib.catAttrs key pieces));
in
{
  options.disko = {
    devices = mkOption {
      type = types.submodule {
        options = {
          disk = mkOption {
            type = types.attrsOf layout.disk;
            default = { };
            description = "Disks.";
          };
          nodev = mkOption {
            type = types.attrsOf layout.nodev;
            default = { };
            description = "File systems without a device, by mount point.";
          };
        };
      };
      default = { };
      description = "The layout.";
    };
    rootMountPoint = mkOption {
      type = types.str;
      default = "/mnt";
      description = "Where the scripts mount the file systems.";
    };
    enableConfig = mkOption {
      type = types.bool;
      default = true;
      description = "Whether the system mounts what the layout says; not so on an installer.";
    };
  };

  config = {
    system.build = lib.mapAttrs (
      _: script:
      if cfg.devices.disk == { } then
        throw "disko.devices.disk is empty: import the module that describes the disks."
      else
        script
    ) scripts;

    fileSystems = collect "fileSystems";
    boot = collect "boot";
    swapDevices = collect "swapDevices";
  };
}
