# What ‘nixos-generate-config’ reports of a stratis pool.
{ config, lib, pkgs, modulesPath, ... }:

{
  imports =
    [ (modulesPath + "/profiles/qemu-guest.nix")
    ];

  boot.initrd.availableKernelModules = [ "virtio_pci" "virtio_blk" ];
  boot.initrd.kernelModules = [ ];
  boot.kernelModules = [ ];
  boot.extraModulePackages = [ ];

  fileSystems."/data" =
    { device = "/dev/stratis/pool/data";
      fsType = "xfs";
      stratis.poolUuid = "4f1e1b2c-3a5d-4c6e-9f10-2b3c4d5e6f78";
    };

  swapDevices = [ ];

  nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
}
