# The module argument `utils`: what several NixOS modules agree on.
{ lib }:
rec {
  # Mounted by the initrd whatever the configuration says: a system does not start without.
  pathsNeededForBoot = [
    "/"
    "/nix"
    "/nix/store"
    "/var"
    "/var/log"
    "/var/lib"
    "/var/lib/nixos"
    "/etc"
    "/usr"
  ];
  fsNeededForBoot = fs: fs.neededForBoot || builtins.elem fs.mountPoint pathsNeededForBoot;

  # `/var/lib` as `var-lib`, the way systemd names units after paths.
  escapeSystemdPath =
    path:
    let
      trimmed = lib.removeSuffix "/" (lib.removePrefix "/" path);
    in
    if trimmed == "" then "-" else lib.escapeSystemdName trimmed;

  toShellPath =
    shell:
    if lib.isDerivation shell && shell ? shellPath then
      "/run/current-system/sw${shell.shellPath}"
    else if lib.isDerivation shell then
      throw "${shell.name} is not a shell package"
    else
      shell;

  removePackagesByName =
    packages: unwanted:
    let
      names = map lib.getName unwanted;
    in
    builtins.filter (p: !builtins.elem (lib.getName p) names) packages;

  options = import ./make-options.nix { inherit lib; };
  systemdUtils = import ./systemd-lib.nix { inherit lib; };
}
