{
  # Stands in for nixpkgs where nixpkgs cannot be reached: the same outputs, option names and
  # file paths, with packages that are Debian's binaries (lab/base).
  description = "A miniature nixpkgs";

  outputs =
    { self }:
    let
      systems = [ "x86_64-linux" ];
      basicLib = import ./lib;
      lib = basicLib.extend (
        _: _: {
          nixosSystem =
            args:
            import ./nixos/lib/eval-config.nix (
              {
                inherit lib;
                system = null;
              }
              // args
              // {
                modules = args.modules ++ [ { nixpkgs.flake.source = self.outPath; } ];
              }
            );
        }
      );
    in
    {
      inherit lib;

      legacyPackages = basicLib.genAttrs systems (system: import ./. { inherit system; });

      nixosModules = {
        notDetected = ./nixos/modules/installer/scan/not-detected.nix;
      };
    };
}
