# Programs of NixOS itself.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  program =
    name:
    pkgs.writeScriptBin name (
      lib.replaceStrings
        [ "@bash@" "@nixosVersion@" ]
        [ "${pkgs.bash}" config.system.nixos.label ]
        (builtins.readFile (./programs + "/${name}.sh"))
    );
in
{
  environment.systemPackages = map program [
    "nixos-enter"
    "nixos-generate-config"
    "nixos-install"
    "nixos-rebuild"
    "nixos-version"
  ];
}
