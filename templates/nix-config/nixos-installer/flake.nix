{
  # A flake of its own: it needs no private inputs and little of nixpkgs, so the
  # first installation is small and asks for no credentials.
  # It imports files of the repo around it, so it is evaluated as a folder of the
  # repo (".?dir=nixos-installer", or "." from in here), not as a copy of itself.
  description = "Installer image, and the minimal system that a host starts with";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

    disko = {
      url = "github:nix-community/disko";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      disko,
    }:
    let
      inherit (nixpkgs) lib;

      specialArgs.vars = import ../vars.nix;

      # The same hosts as in the flake above.
      hosts = builtins.attrNames (builtins.readDir ../hosts/nixos);

      minimal =
        host:
        lib.nixosSystem {
          inherit specialArgs;
          modules = [
            disko.nixosModules.disko
            ./minimal-configuration.nix
            ../hosts/nixos/${host}/hardware-configuration.nix
            ../hosts/nixos/${host}/disks.nix
            { networking.hostName = host; }
          ];
        };
    in
    {
      nixosConfigurations = lib.genAttrs hosts minimal // {
        iso = lib.nixosSystem {
          inherit specialArgs;
          modules = [ ./iso ];
        };
      };

      packages.x86_64-linux.iso = self.nixosConfigurations.iso.config.system.build.isoImage;
    };
}
