{
  # Stands in for disko where it cannot be reached: the same options, scripts and attributes for
  # the layouts that the lab installs.
  description = "A miniature disko";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, ... }:
    {
      nixosModules = {
        default = self.nixosModules.disko;
        disko = ./module.nix;
      };
    };
}
