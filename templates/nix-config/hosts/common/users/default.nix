# The primary user: gets in by key over SSH, by password at the console and for sudo.
{ config, vars, ... }:
let
  inherit (vars) username;
in
{
  # Accounts and passwords are what stands here and in nix-secrets, nothing else.
  users.mutableUsers = false;

  users.users.${username} = {
    isNormalUser = true;
    extraGroups = [ "wheel" ];
    hashedPasswordFile = config.sops.secrets."passwords/${username}".path;
    openssh.authorizedKeys.keyFiles = [ ./authorized_keys ];
  };

  security.sudo.wheelNeedsPassword = true;

  sops.secrets = {
    # Opened before the accounts are made.
    "passwords/${username}".neededForUsers = true;

    # An example: /run/secrets/sample, readable by the user alone.
    sample.owner = username;
  };
}
