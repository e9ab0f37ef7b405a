# What every host has.
{ lib, pkgs, ... }:
{
  imports = [
    ./boot.nix
    ./network.nix
    ./nix.nix
    ./openssh.nix
    ./sops.nix
  ];

  time.timeZone = lib.mkDefault "UTC";
  i18n.defaultLocale = lib.mkDefault "en_US.UTF-8";
  console.keyMap = lib.mkDefault "us";

  programs.git.enable = true;

  environment.systemPackages = with pkgs; [
    just
    rsync
    sops
  ];
}
