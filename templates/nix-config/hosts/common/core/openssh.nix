# Shared with nixos-installer: the host key lies at the same path in both, so
# that the minimal system and the full one are the same host to whoever logs in.
{ lib, ... }:
{
  services.openssh = {
    enable = true;

    # One key. It is also the identity that opens this host's secrets.
    hostKeys = lib.mkDefault [
      {
        type = "ed25519";
        path = "/etc/ssh/ssh_host_ed25519_key";
      }
    ];

    settings = {
      PasswordAuthentication = false;
      KbdInteractiveAuthentication = false;
      PermitRootLogin = lib.mkDefault "no";
    };
  };
}
