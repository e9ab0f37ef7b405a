# What ‘nixos-generate-config’ reports of bind and loop mounts.
{ config, lib, pkgs, modulesPath, ... }:

{
  imports =
    [ (modulesPath + "/profiles/qemu-guest.nix")
    ];

  boot.initrd.availableKernelModules = [ "virtio_pci" ];
  boot.initrd.kernelModules = [ ];
  boot.kernelModules = [ ];
  boot.extraModulePackages = [ ];

  fileSystems."/" =
    { device = "/dev/disk/by-uuid/4f1e1b2c-3a5d-4c6e-9f10-2b3c4d5e6f74";
      fsType = "ext4";
    };

  fileSystems."/etc/nixos" =
    { device = "/persist/etc/nixos";
      fsType = "none";
      options = [ "bind" ];
    };

  fileSystems."/srv/Ältere Bilder" =
    { device = "/home/Ältere Bilder";
      fsType = "none";
      options = [ "bind" ];
    };

  fileSystems."/mnt/image" =
    { device = "/var/lib/image.img";
      fsType = "ext4";
      options = [ "loop" ];
    };

  swapDevices = [ ];

  nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
}
