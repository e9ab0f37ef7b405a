{
  description = "NixOS configurations, one folder a host";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

    disko = {
      url = "github:nix-community/disko";
      inputs.nixpkgs.follows = "nixpkgs";
    };

    sops-nix = {
      url = "github:Mic92/sops-nix";
      inputs.nixpkgs.follows = "nixpkgs";
    };

    # Private. `nix flake update nix-secrets` takes over what was pushed there.
    nix-secrets.url = "git+ssh://git@example.org/alice/nix-secrets.git?ref=main&shallow=1";
  };

  outputs =
    { nixpkgs, ... }@inputs:
    let
      inherit (nixpkgs) lib;

      # Every folder below hosts/nixos is a host, named as the folder.
      hosts = builtins.attrNames (builtins.readDir ./hosts/nixos);

      mkHost =
        host:
        lib.nixosSystem {
          specialArgs = {
            inherit inputs;
            vars = import ./vars.nix;
          };
          modules = [
            inputs.disko.nixosModules.disko
            ./hosts/nixos/${host}
          ];
        };
    in
    {
      nixosConfigurations = lib.genAttrs hosts mkHost;
    };
}
