# Shared with nixos-installer.
{
  nix.settings.experimental-features = [
    "nix-command"
    "flakes"
  ];
}
