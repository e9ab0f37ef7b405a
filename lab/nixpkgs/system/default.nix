# What makes a system of the miniature nixpkgs run: Debian's userland in the shape of NixOS.
#
# The modules beside this one turn options (declared in nixos/modules) into files, scripts and an
# initrd; toplevel.nix and iso.nix put the results together.
{
  imports = [
    ./userland.nix
    ./pam.nix
    ./units.nix
    ./etc.nix
    ./users.nix
    ./activation.nix
    ./stage-1.nix
    ./boot-loader.nix
    ./tools.nix
  ];
}
