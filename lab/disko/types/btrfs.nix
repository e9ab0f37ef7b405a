# btrfs with subvolumes.
{ lib, tools }:
let
  inherit (lib) mkOption types;

  swapOptions.options = {
    size = mkOption {
      type = types.strMatching "[0-9]+[KMGTP]";
      description = "The size of the swap file.";
    };
    path = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = "Its path below the subvolume.";
    };
    options = tools.strings [ "defaults" ] "Options in fstab.";
    priority = mkOption {
      type = types.nullOr types.int;
      default = null;
      description = "Used before others with smaller numbers.";
    };
  };

  subvolumeOptions =
    { name, ... }:
    {
      options = {
        name = tools.string name "The name of the subvolume.";
        type = mkOption {
          type = types.enum [ "btrfs_subvol" ];
          default = "btrfs_subvol";
          internal = true;
          description = "What it is.";
        };
        extraArgs = tools.strings [ ] "Arguments of btrfs subvolume create.";
        mountOptions = tools.strings [ "defaults" ] "Mount options.";
        inherit (tools) mountpoint;
        swap = mkOption {
          type = types.attrsOf (types.submodule swapOptions);
          default = { };
          description = "Swap files.";
        };
      };
    };

  subvolumes = fs: lib.attrValues fs.subvolumes;
  mounted = fs: lib.filter (sub: sub.mountpoint != null) (subvolumes fs);
  optionsOf = sub: sub.mountOptions ++ [ "subvol=${sub.name}" ];
  swapPath = name: swap: if swap.path == null then name else swap.path;

  createSubvolume = device: sub: ''
    (
      top=$(mktemp -d)
      mount ${device} "$top" -o subvol=/
      trap 'umount "$top"; rmdir "$top"' EXIT
      target="$top"/${lib.escapeShellArg (lib.removePrefix "/" sub.name)}
      if ! btrfs subvolume show "$target" > /dev/null 2>&1; then
        mkdir -p "$(dirname "$target")"
        btrfs subvolume create ${lib.escapeShellArgs sub.extraArgs} "$target"
      fi
      ${lib.concatStrings (
        lib.mapAttrsToList (name: swap: ''
          [ -e "$target"/${swapPath name swap} ] ||
            btrfs filesystem mkswapfile --size ${swap.size} "$target"/${swapPath name swap}
        '') sub.swap
      )}
    )
  '';
in
{
  options =
    { device, ... }:
    {
      device = tools.string device "The device.";
      extraArgs = tools.strings [ ] "Arguments of mkfs.btrfs.";
      mountOptions = tools.strings [ "defaults" ] "Mount options of the whole.";
      inherit (tools) mountpoint;
      subvolumes = mkOption {
        type = types.attrsOf (types.submodule subvolumeOptions);
        default = { };
        description = "The subvolumes.";
      };
    };

  create =
    fs:
    ''
      if ! blkid -o export ${fs.device} | grep -q '^TYPE='; then
        mkfs.btrfs ${lib.escapeShellArgs fs.extraArgs} ${fs.device}
      fi
    ''
    + lib.concatMapStrings (createSubvolume fs.device) (subvolumes fs);

  mount = fs: {
    fs =
      lib.listToAttrs (
        map (
          sub:
          lib.nameValuePair sub.mountpoint (
            tools.mountCommand {
              inherit (fs) device;
              inherit (sub) mountpoint;
              options = optionsOf sub;
            }
          )
        ) (mounted fs)
      )
      // lib.optionalAttrs (fs.mountpoint != null) {
        ${fs.mountpoint} = tools.mountCommand {
          inherit (fs) device mountpoint;
          options = fs.mountOptions;
        };
      };
  };

  close = _: "";

  config =
    fs:
    map (sub: {
      fileSystems.${sub.mountpoint} = {
        inherit (fs) device;
        fsType = "btrfs";
        options = optionsOf sub;
      };
      swapDevices = lib.mapAttrsToList (name: swap: {
        device = "${lib.removeSuffix "/" sub.mountpoint}/${swapPath name swap}";
        inherit (swap) options priority;
      }) sub.swap;
    }) (mounted fs)
    ++ lib.optional (fs.mountpoint != null) {
      fileSystems.${fs.mountpoint} = {
        inherit (fs) device;
        fsType = "btrfs";
        options = fs.mountOptions;
      };
    };

  packages = _: pkgs: [ pkgs.btrfs-progs ];
}
