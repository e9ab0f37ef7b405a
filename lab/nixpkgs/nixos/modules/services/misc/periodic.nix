# Regular care for disks: fstrim, and scrubbing btrfs.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool;
  inherit (config.services) fstrim;
  inherit (config.services.btrfs) autoScrub;

  interval =
    default:
    mkOption {
      type = types.str;
      inherit default;
      description = "How often.";
    };
  scrub = path: {
    name = "btrfs-scrub-${utils.escapeSystemdPath path}";
    value = {
      description = "btrfs scrub on ${path}";
      startAt = autoScrub.interval;
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "${pkgs.btrfs-progs}/bin/btrfs scrub start -B ${path}";
      };
    };
  };
in
{
  options.services = {
    fstrim = {
      enable = bool true "Whether disks are told at times what is free.";
      interval = interval "weekly";
    };
    btrfs.autoScrub = {
      enable = bool false "Whether btrfs is read through at times.";
      interval = interval "monthly";
      fileSystems = mkOption {
        type = types.listOf types.path;
        description = "Which ones.";
      };
    };
  };

  config = {
    services.btrfs.autoScrub.fileSystems = lib.mkDefault (
      lib.mapAttrsToList (path: _: path) (
        lib.filterAttrs (_: fs: fs.fsType == "btrfs") config.fileSystems
      )
    );
    systemd.services =
      lib.optionalAttrs fstrim.enable {
        fstrim = {
          description = "Discard unused blocks on filesystems";
          startAt = fstrim.interval;
          serviceConfig = {
            Type = "oneshot";
            ExecStart = "${pkgs.util-linux}/sbin/fstrim --listed-in /etc/fstab:/proc/self/mountinfo";
          };
        };
      }
      // lib.optionalAttrs autoScrub.enable (lib.listToAttrs (map scrub autoScrub.fileSystems));
  };
}
