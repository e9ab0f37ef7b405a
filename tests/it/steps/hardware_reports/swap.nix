# What ‘nixos-generate-config’ reports of two swap partitions; swap files are left to the configuration.
{ config, lib, pkgs, modulesPath, ... }:

{
  imports =
    [ (modulesPath + "/installer/scan/not-detected.nix")
    ];

  boot.initrd.availableKernelModules = [ "ahci" "sd_mod" ];
  boot.initrd.kernelModules = [ ];
  boot.kernelModules = [ ];
  boot.extraModulePackages = [ ];

  fileSystems."/" =
    { device = "/dev/disk/by-uuid/4f1e1b2c-3a5d-4c6e-9f10-2b3c4d5e6f76";
      fsType = "ext4";
    };

  swapDevices =
    [ { device = "/dev/disk/by-uuid/4f1e1b2c-3a5d-4c6e-9f10-2b3c4d5e6f77"; }
      { device = "/dev/sda3"; }
    ];

  nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
}
