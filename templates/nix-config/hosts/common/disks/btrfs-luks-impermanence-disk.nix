# As btrfs-luks-disk.nix, and / is empty again after every boot. What shall stay
# has a subvolume of its own: /nix, /home, /persist, /var/lib and /var/log.
# The host names the device: disko.devices.disk.main.device.
let
  subvolume = mountpoint: {
    inherit mountpoint;
    mountOptions = [
      "compress=zstd"
      "noatime"
    ];
  };
in
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
                "root" = subvolume "/";
                "home" = subvolume "/home";
                "nix" = subvolume "/nix";
                "persist" = subvolume "/persist";
                "lib" = subvolume "/var/lib";
                "log" = subvolume "/var/log";
              };
            };
          };
        };
      };
    };
  };

  # The host key is needed before the secrets can be opened, early in the boot.
  fileSystems."/persist".neededForBoot = true;

  services.openssh.hostKeys = [
    {
      type = "ed25519";
      path = "/persist/etc/ssh/ssh_host_ed25519_key";
    }
  ];

  # The root of the boot before is kept as root-previous, for what was forgotten.
  boot.initrd.systemd.services.rollback-root = {
    description = "Start with an empty root subvolume";
    wantedBy = [ "initrd.target" ];
    requires = [ "dev-mapper-crypted.device" ];
    after = [ "dev-mapper-crypted.device" ];
    before = [ "sysroot.mount" ];
    unitConfig.DefaultDependencies = false;
    serviceConfig.Type = "oneshot";
    script = ''
      mkdir -p /btrfs
      mount -t btrfs -o subvol=/ /dev/mapper/crypted /btrfs

      # There is none when the power failed in the middle of this.
      if [ -e /btrfs/root ]; then
        if [ -e /btrfs/root-previous ]; then
          btrfs subvolume delete --recursive /btrfs/root-previous
        fi
        mv /btrfs/root /btrfs/root-previous
      fi
      btrfs subvolume create /btrfs/root

      # The same machine id, or every boot would begin a journal of its own.
      if [ -s /btrfs/root-previous/etc/machine-id ]; then
        mkdir -p /btrfs/root/etc
        cp -p /btrfs/root-previous/etc/machine-id /btrfs/root/etc/machine-id
      fi

      umount /btrfs
    '';
  };
}
