{
  imports = [
    # Written by `landfall bootstrap`, from the machine itself.
    ./hardware-configuration.nix
    ./disks.nix

    ../../common/core
    ../../common/users
  ];

  networking.hostName = "guppy";

  # The release this host was installed with. Stays as it is when nixpkgs moves.
  system.stateVersion = "26.05";
}
