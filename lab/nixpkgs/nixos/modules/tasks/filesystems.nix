# File systems: /etc/fstab, and what the initrd has to mount.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils.options) nullOr strings;

  bool =
    description:
    mkOption {
      type = types.bool;
      default = false;
      inherit description;
    };

  fileSystem =
    { name, config, ... }:
    {
      options = {
        enable = bool "Whether the file system is mounted." // {
          default = true;
        };
        mountPoint = mkOption {
          type = types.addCheck types.nonEmptyStr (lib.hasPrefix "/");
          default = name;
          description = "Where it is mounted.";
        };
        device = nullOr types.nonEmptyStr "The device.";
        label = nullOr types.nonEmptyStr "The label, instead of the device.";
        fsType = mkOption {
          type = types.nonEmptyStr;
          default = "auto";
          description = "The type.";
        };
        options = mkOption {
          type = types.nonEmptyListOf types.nonEmptyStr;
          default = [ "defaults" ];
          description = "Mount options.";
        };
        depends = strings [ ] "Paths that must be mounted before.";
        noCheck = bool "Whether it is never checked.";
        autoFormat = bool "Whether an empty device is formatted at boot.";
        autoResize = bool "Whether it grows to its device at boot.";
      };
      config = {
        device = lib.mkIf (config.label != null) (lib.mkDefault "/dev/disk/by-label/${config.label}");
        options = lib.mkMerge [
          (lib.mkIf config.autoResize [ "x-systemd.growfs" ])
          (lib.mkIf config.autoFormat [ "x-systemd.makefs" ])
          (lib.mkIf (utils.fsNeededForBoot config) [ "x-initrd.mount" ])
        ];
      };
    };

  # Parents before children.
  fileSystems = lib.sortOn (fs: fs.mountPoint) (
    lib.filter (fs: fs.enable) (lib.attrValues config.fileSystems)
  );

  escape = lib.replaceStrings [ " " "\t" ] [ "\\040" "\\011" ];
  device = fs: if fs.device == null then fs.fsType else fs.device;
  pass =
    fs:
    if fs.noCheck || !builtins.elem fs.fsType [ "ext4" "vfat" ] then
      "0"
    else if fs.mountPoint == "/" then
      "1"
    else
      "2";
  fstabLine =
    fs:
    lib.concatStringsSep " " [
      (escape (device fs))
      (escape fs.mountPoint)
      fs.fsType
      (lib.concatStringsSep "," (map escape fs.options ++ map (p: "x-systemd.requires-mounts-for=${escape p}") fs.depends))
      "0"
      (pass fs)
    ];
  swapLine =
    swap:
    "${escape swap.realDevice} none swap ${
      lib.concatStringsSep "," (
        swap.options
        ++ lib.optional (swap.priority != null) "pri=${toString swap.priority}"
        ++ lib.optional (swap.discardPolicy != null) "discard=${swap.discardPolicy}"
      )
    }";

  supported = mkOption {
    type = types.coercedTo (types.listOf types.str) (
      enabled: lib.genAttrs enabled (_: true)
    ) (types.attrsOf types.bool);
    default = { };
    description = "File systems whose tools and modules are there.";
  };
  tools = {
    btrfs = pkgs.btrfs-progs;
    ext4 = pkgs.e2fsprogs;
    vfat = pkgs.dosfstools;
  };
  enabled = set: lib.attrNames (lib.filterAttrs (_: on: on) set);
in
{
  options = {
    fileSystems = mkOption {
      type = types.attrsOf (types.submodule fileSystem);
      default = { };
      description = "The file systems, by mount point.";
    };
    boot.supportedFilesystems = supported;
    boot.initrd.supportedFilesystems = supported;
    system.fsPackages = mkOption {
      type = types.listOf types.package;
      internal = true;
      default = [ ];
      description = "The tools of the file systems.";
    };
  };

  config = {
    assertions = [
      {
        assertion = config.fileSystems ? "/";
        message = "fileSystems does not say what is mounted at /, the root file system.";
      }
    ]
    ++ lib.concatMap (fs: [
      {
        assertion = fs.device != null || builtins.elem fs.fsType [ "tmpfs" "overlay" ];
        message = "fileSystems.\"${fs.mountPoint}\": neither device nor label is set.";
      }
      {
        assertion = fs.fsType != "auto" || !utils.fsNeededForBoot fs || builtins.elem "bind" fs.options;
        message = "fileSystems.\"${fs.mountPoint}\" is needed for boot: its fsType must be set.";
      }
      {
        assertion = !(fs.autoResize && builtins.elem fs.fsType [ "vfat" "tmpfs" ]);
        message = "fileSystems.\"${fs.mountPoint}\".autoResize is not possible with ${fs.fsType}.";
      }
    ]) fileSystems;

    boot.supportedFilesystems = lib.listToAttrs (
      map (fs: lib.nameValuePair fs.fsType (lib.mkDefault true)) fileSystems
    );
    boot.initrd.supportedFilesystems = lib.listToAttrs (
      map (fs: lib.nameValuePair fs.fsType (lib.mkDefault true)) (lib.filter utils.fsNeededForBoot fileSystems)
    );
    boot.initrd.kernelModules = lib.filter (m: builtins.elem m [ "btrfs" "ext4" "vfat" "overlay" ]) (
      enabled config.boot.initrd.supportedFilesystems
    );
    system.fsPackages = lib.concatMap (type: lib.optional (tools ? ${type}) tools.${type}) (
      enabled config.boot.supportedFilesystems
    );
    environment.systemPackages = config.system.fsPackages;

    environment.etc.fstab.text = ''
      # Written from fileSystems and swapDevices of the system's configuration.
      ${lib.concatMapStringsSep "\n" fstabLine fileSystems}
      ${lib.concatMapStringsSep "\n" swapLine config.swapDevices}
    '';
  };
}
