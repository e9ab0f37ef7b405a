# From modules to a NixOS configuration: what `lib.nixosSystem` calls.
{
  lib ? import ../../lib,
  modules,
  system ? null,
  pkgs ? null,
  specialArgs ? { },
  baseModules ? import ../modules/module-list.nix,
  modulesLocation ? null,
}:
let
  fromArguments = {
    _file = ./eval-config.nix;
    key = ./eval-config.nix;
    config = lib.mkMerge [
      (lib.mkIf (system != null) { nixpkgs.system = lib.mkDefault system; })
      (lib.mkIf (pkgs != null) { nixpkgs.pkgs = lib.mkForce pkgs; })
      {
        _module.args = {
          inherit baseModules modules;
          utils = import ./utils.nix { inherit lib; };
        };
      }
    ];
  };

  located =
    if modulesLocation == null then
      modules
    else
      map (lib.setDefaultModuleLocation modulesLocation) modules;

  evaluated = lib.evalModules {
    class = "nixos";
    modules = baseModules ++ [ fromArguments ] ++ located;
    specialArgs = {
      modulesPath = toString ../modules;
    }
    // specialArgs;
  };
in
evaluated
// {
  inherit lib;
  inherit (evaluated._module.args) pkgs;
}
