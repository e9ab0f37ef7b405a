# Lives from the installation to the first full rebuild. It holds no secrets and
# sets no password: it opens by key alone, for the keys that the full system takes.
{ pkgs, vars, ... }:
let
  authorizedKeys = ../hosts/common/users/authorized_keys;
in
{
  imports = [
    ../hosts/common/core/boot.nix
    ../hosts/common/core/network.nix
    ../hosts/common/core/nix.nix
    ../hosts/common/core/openssh.nix
  ];

  services.openssh.settings.PermitRootLogin = "prohibit-password";

  users.users = {
    root.openssh.authorizedKeys.keyFiles = [ authorizedKeys ];

    ${vars.username} = {
      isNormalUser = true;
      extraGroups = [ "wheel" ];
      openssh.authorizedKeys.keyFiles = [ authorizedKeys ];
    };
  };

  # There is no password to ask for yet. The full configuration asks again.
  security.sudo.wheelNeedsPassword = false;

  programs.git.enable = true;
  environment.systemPackages = [ pkgs.rsync ];

  system.stateVersion = "26.05";
}
