{
  # Stands in for sops-nix where it cannot be reached: the same options, and secrets that the
  # real sops opens with the host's own key.
  description = "A miniature sops-nix";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, ... }:
    {
      nixosModules = {
        default = self.nixosModules.sops;
        sops = ./module.nix;
      };
    };
}
