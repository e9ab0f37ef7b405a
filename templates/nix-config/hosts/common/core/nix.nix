# Shared with nixos-installer.
{
  nix.settings = {
    experimental-features = [
      "nix-command"
      "flakes"
    ];
    # Only root: a trusted user is root by another name.
    trusted-users = [ "root" ];
  };
}
