# One disk: an ESP, and LUKS2 in the rest with btrfs and its subvolumes inside.
# The host names the device: disko.devices.disk.main.device.
{
  disko.devices.disk.main = {
    type = "disk";
    content = {
      type = "gpt";
      partitions = {
        ESP = {
          priority = 1;
          size = "1G";
          type = "EF00";
          content = {
            type = "filesystem";
            format = "vfat";
            mountpoint = "/boot";
            mountOptions = [ "umask=0077" ];
          };
        };

        luks = {
          size = "100%";
          content = {
            type = "luks";
            name = "crypted";
            # Where the passphrase lies while the disk is formatted, and only then.
            passwordFile = "/tmp/disko-password";
            # Lets an SSD know what is free; shows an attacker how much is in use.
            settings.allowDiscards = true;
            content = {
              type = "btrfs";
              # Format anew even when something is left from before.
              extraArgs = [ "-f" ];
              subvolumes = {
                "root" = {
                  mountpoint = "/";
                  mountOptions = [
                    "compress=zstd"
                    "noatime"
                  ];
                };
                "home" = {
                  mountpoint = "/home";
                  mountOptions = [
                    "compress=zstd"
                    "noatime"
                  ];
                };
                "nix" = {
                  mountpoint = "/nix";
                  mountOptions = [
                    "compress=zstd"
                    "noatime"
                  ];
                };
              };
            };
          };
        };
      };
    };
  };
}
