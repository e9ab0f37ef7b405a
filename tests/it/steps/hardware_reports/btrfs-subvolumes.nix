# What ‘nixos-generate-config’ reports of btrfs with subvolumes on LUKS.
{ config, lib, pkgs, modulesPath, ... }:

{
  imports =
    [ (modulesPath + "/installer/scan/not-detected.nix")
    ];

  boot.initrd.availableKernelModules = [ "nvme" ];
  boot.initrd.kernelModules = [ ];
  boot.kernelModules = [ "kvm-amd" ];
  boot.extraModulePackages = [ ];

  fileSystems."/" =
    { device = "/dev/mapper/luks-4f1e1b2c-3a5d-4c6e-9f10-2b3c4d5e6f72";
      fsType = "btrfs";
      options = [ "subvol=@" ];
    };

  boot.initrd.luks.devices."luks-4f1e1b2c-3a5d-4c6e-9f10-2b3c4d5e6f72".device = "/dev/disk/by-uuid/4f1e1b2c-3a5d-4c6e-9f10-2b3c4d5e6f72";

  fileSystems."/home" =
    { device = "/dev/mapper/luks-4f1e1b2c-3a5d-4c6e-9f10-2b3c4d5e6f72";
      fsType = "btrfs";
      options = [ "subvol=@home" ];
    };

  fileSystems."/nix" =
    { device = "/dev/mapper/luks-4f1e1b2c-3a5d-4c6e-9f10-2b3c4d5e6f72";
      fsType = "btrfs";
      options = [ "subvol=@/nix" ];
    };

  fileSystems."/boot" =
    { device = "/dev/disk/by-uuid/12CE-A600";
      fsType = "vfat";
      options = [ "fmask=0022" "dmask=0022" ];
    };

  swapDevices = [ ];

  nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
}
