# Layouts of disks: what the system mounts, and what the scripts do.
{
  lib,
  evalConfig,
  disko,
  ...
}:
let
  eval =
    devices:
    evalConfig [
      disko
      {
        nixpkgs.hostPlatform = "x86_64-linux";
        disko.devices = devices;
      }
    ];
  disk = partitions: {
    disk.main = {
      device = "/dev/vda";
      content = {
        type = "gpt";
        inherit partitions;
      };
    };
  };
  luks =
    extra:
    disk {
      luks = {
        size = "100%";
        content = {
          type = "luks";
          name = "crypted";
          content = {
            type = "btrfs";
            subvolumes."/root" = {
              mountpoint = "/";
              mountOptions = [ "noatime" ];
            };
            subvolumes.snapshots = { };
          };
        }
        // extra;
      };
    };
  script = devices: name: (eval devices).config.system.build.${name}.text;
  has = text: part: lib.hasInfix part text;
  simple = disk {
    root = {
      size = "100%";
      content = {
        type = "filesystem";
        format = "ext4";
        mountpoint = "/";
      };
    };
    esp = {
      size = "512M";
      type = "EF00";
      content = {
        type = "filesystem";
        format = "vfat";
        mountpoint = "/boot";
        mountOptions = [ "umask=0077" ];
      };
    };
  };
in
{
  file-systems = {
    expr = lib.mapAttrs (_: fs: { inherit (fs) device fsType options; }) (eval simple).config.fileSystems;
    expected = {
      "/" = {
        device = "/dev/disk/by-partlabel/disk-main-root";
        fsType = "ext4";
        options = [
          "defaults"
          "x-initrd.mount"
        ];
      };
      "/boot" = {
        device = "/dev/disk/by-partlabel/disk-main-esp";
        fsType = "vfat";
        options = [ "umask=0077" ];
      };
    };
  };
  luks-in-the-initrd = {
    expr =
      let
        inherit ((eval (luks { settings.allowDiscards = true; })).config.boot.initrd.luks.devices) crypted;
      in
      {
        inherit (crypted) device allowDiscards keyFile;
      };
    expected = {
      device = "/dev/disk/by-partlabel/disk-main-luks";
      allowDiscards = true;
      keyFile = null;
    };
  };
  subvolumes = {
    expr = lib.mapAttrs (_: fs: fs.options) (eval (luks { })).config.fileSystems;
    expected."/" = [
      "noatime"
      "subvol=/root"
      "x-initrd.mount"
    ];
  };
  whole-disk-partition-is-last = {
    expr = map (has (script simple "formatScript")) [
      "--new=1:0:+512M"
      "--new=2:0:-0"
    ];
    expected = [
      true
      true
    ];
  };
  passphrase-by-descriptor = {
    expr = has (script (luks { passwordFile = "/tmp/disko-password"; }) "formatScript") ''--key-file <(echo -n "$(cat /tmp/disko-password)")'';
    expected = true;
  };
  key-file-as-it-is = {
    expr = has (script (luks { settings.keyFile = "/tmp/key"; }) "formatScript") "--key-file /tmp/key";
    expected = true;
  };
  nothing-is-asked-by-disko-script = {
    expr = map (name: has (script simple name) "confirmWipe '/dev/vda' \"$@\"\n" || has (script simple name) "confirmWipe /dev/vda \"$@\"\n") [
      "diskoScript"
      "destroyFormatMount"
      "formatMount"
      "destroy"
    ];
    expected = [
      false
      true
      false
      true
    ];
  };
  a-kept-disk-is-made-and-mounted-and-not-destroyed = {
    expr =
      let
        kept = lib.recursiveUpdate simple {
          disk.data = {
            device = "/dev/vdb";
            destroy = false;
            content = {
              type = "filesystem";
              format = "ext4";
              mountpoint = "/data";
            };
          };
        };
        text = script kept;
      in
      map (name: has (text name) "for dev in /dev/vda; do") [
        "diskoScript"
        "destroyFormatMount"
        "destroy"
        "formatMount"
      ]
      ++ [
        (has (text "destroy") "/dev/vdb")
        (has (text "formatMount") "mkfs.ext4  /dev/vdb")
        (has (text "mount") "/data")
      ];
    expected = [
      true
      true
      true
      false
      false
      true
      true
    ];
  };
  no-deps-no-store-paths = {
    expr = has (script simple "diskoScriptNoDeps") builtins.storeDir;
    expected = false;
  };
  tmpfs = {
    expr =
      (eval {
        nodev."/tmp" = {
          fsType = "tmpfs";
          mountOptions = [ "size=1G" ];
        };
      }).config.fileSystems."/tmp".device;
    expected = "none";
  };
  swap = {
    expr = map (s: s.device) (eval (disk {
      swap = {
        size = "1G";
        content.type = "swap";
      };
    })).config.swapDevices;
    expected = [ "/dev/disk/by-partlabel/disk-main-swap" ];
  };
  grub-goes-where-there-is-room = {
    expr = (eval (disk {
      bios = {
        size = "1M";
        type = "EF02";
      };
    })).config.boot.loader.grub.devices;
    expected = [ "/dev/vda" ];
  };
  no-room-no-grub = {
    expr = (eval simple).config.boot.loader.grub.devices;
    expected = [ ];
  };
  device-from-another-module = {
    expr =
      (evalConfig [
        disko
        { disko.devices.disk.main.content.type = "gpt"; }
        { disko.devices.disk.main.device = lib.mkForce "/dev/disk/by-id/a"; }
        { disko.devices.disk.main.device = "/dev/vda"; }
      ]).config.disko.devices.disk.main.device;
    expected = "/dev/disk/by-id/a";
  };
  long-names-fit = {
    expr = lib.stringLength (
      (eval (disk { ${lib.replicateString 40 "x"}.content = null; })).config.disko.devices.disk.main.content.partitions.${lib.replicateString 40 "x"}.label
    );
    expected = 36;
  };

  no-disks = {
    expr = (eval { }).config.system.build.diskoScript.drvPath;
    error = "disko.devices.disk is empty";
  };
  unknown-content = {
    expr = (eval (disk { root.content.type = "zfs"; })).config.fileSystems;
    error = "The option `disko.devices.disk.main.content.partitions.root.content.type' is `zfs'";
  };
  content-without-type = {
    expr = (eval (disk { root.content.format = "ext4"; })).config.fileSystems;
    error = "content.type' is not set";
  };
  unknown-attribute = {
    expr = (eval (disk {
      root.content = {
        type = "filesystem";
        format = "ext4";
        mountPoint = "/";
      };
    })).config.fileSystems;
    error = "The option `disko.devices.disk.main.content.partitions.root.content.mountPoint' does not exist.";
  };
  size-is-checked = {
    expr = (eval (disk { root.size = "50%"; })).config.disko.devices.disk.main.content.partitions.root.size;
    error = "A definition for option `disko.devices.disk.main.content.partitions.root.size' is not of type";
  };
}
