# The packages that all users have in their PATH.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils.options) lines packages strings;
  cfg = config.environment;

  # No NixOS system is without these.
  required = with pkgs; [
    bashInteractive
    coreutils
    findutils
    gnugrep
    gnused
    gnutar
    gzip
    iproute2
    less
    openssh
    procps
    util-linux
  ];
in
{
  options.environment = {
    systemPackages = packages "Packages in the PATH of every user.";
    defaultPackages = packages "Packages that are there unless this list is emptied.";
    pathsToLink = strings [ ] "Folders of packages that /run/current-system/sw shows.";
    extraOutputsToInstall = strings [ ] "Other outputs of the packages to show.";
    extraSetup = lines "Shell commands that finish the path.";
  };

  options.system.path = mkOption {
    type = types.package;
    internal = true;
    description = "The packages of all users as one tree: `sw` of the system.";
  };

  config = {
    environment.systemPackages = required ++ cfg.defaultPackages;
    environment.pathsToLink = [
      "/bin"
      "/etc/xdg"
      "/lib"
      "/sbin"
      "/share"
    ];
    system.path = pkgs.buildEnv {
      name = "system-path";
      paths = cfg.systemPackages;
      inherit (cfg) pathsToLink extraOutputsToInstall;
      postBuild = cfg.extraSetup;
    };
  };
}
