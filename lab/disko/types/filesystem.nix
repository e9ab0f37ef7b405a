# A plain file system.
{ lib, tools }:
{
  options =
    { device, ... }:
    {
      device = tools.string device "The device.";
      format = lib.mkOption {
        type = lib.types.str;
        description = "The type of the file system.";
      };
      extraArgs = tools.strings [ ] "Arguments of mkfs.";
      mountOptions = tools.strings [ "defaults" ] "Mount options.";
      inherit (tools) mountpoint;
    };

  create = fs: ''
    if ! blkid -o export ${fs.device} | grep -q '^TYPE='; then
      mkfs.${fs.format} ${lib.escapeShellArgs fs.extraArgs} ${fs.device}
    fi
  '';

  mount =
    fs:
    lib.optionalAttrs (fs.mountpoint != null) {
      fs.${fs.mountpoint} = tools.mountCommand {
        inherit (fs) device mountpoint;
        fsType = fs.format;
        options = fs.mountOptions;
      };
    };

  close = _: "";

  config =
    fs:
    lib.optional (fs.mountpoint != null) {
      fileSystems.${fs.mountpoint} = {
        inherit (fs) device;
        fsType = fs.format;
        options = fs.mountOptions;
      };
    };

  packages =
    fs: pkgs:
    {
      btrfs = [ pkgs.btrfs-progs ];
      ext2 = [ pkgs.e2fsprogs ];
      ext3 = [ pkgs.e2fsprogs ];
      ext4 = [ pkgs.e2fsprogs ];
      vfat = [ pkgs.dosfstools ];
    }
    .${fs.format} or (throw "The miniature disko has no tools for the file system `${fs.format}'.");
}
