# Less of everything that is there by default.
{ lib, ... }:
{
  environment.defaultPackages = lib.mkDefault [ ];
  programs.less.enable = lib.mkDefault false;
  programs.nano.enable = lib.mkDefault false;
  services.fstrim.enable = lib.mkDefault false;
}
