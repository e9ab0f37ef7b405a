{
  # Stands in for nixos-images where it cannot be reached: an installer that another Linux starts
  # by kexec, as the same kind of tarball.
  description = "A miniature nixos-images";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs, ... }:
    {
      nixosModules.kexec-installer = ./module.nix;

      packages.x86_64-linux.kexec-installer-nixos-stable-noninteractive =
        (nixpkgs.lib.nixosSystem {
          modules = [
            self.nixosModules.kexec-installer
            { nixpkgs.hostPlatform = "x86_64-linux"; }
          ];
        }).config.system.build.kexecTarball;
    };
}
