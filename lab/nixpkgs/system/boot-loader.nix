# systemd-boot: one entry for each generation.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  loader = config.boot.loader;
  cfg = loader.systemd-boot;
  secrets = lib.concatStrings (
    lib.mapAttrsToList (
      target: source: "${toString target}\t${if source == null then toString target else toString source}\n"
    ) config.boot.initrd.secrets
  );
in
{
  system.build.installBootLoader =
    if cfg.enable then
      pkgs.writeShellScript "install-systemd-boot" ''
        export PATH=/usr/bin
        esp=${lib.escapeShellArg loader.efi.efiSysMountPoint}
        timeout=${if loader.timeout == null then "menu-force" else toString loader.timeout}
        editor=${if cfg.editor then "yes" else "no"}
        limit=${toString (if cfg.configurationLimit == null then 0 else cfg.configurationLimit)}
        touch_variables=${if loader.efi.canTouchEfiVariables then "1" else ""}
        graceful=${if cfg.graceful or false then "1" else ""}
        firmware_program=${pkgs.components.systemd-boot-efi}/lib/systemd/boot/efi/systemd-bootx64.efi
        secrets=${pkgs.writeText "initrd-secrets" secrets}
        title=${lib.escapeShellArg "${config.system.nixos.distroName or "NixOS"}"}
        source ${./programs/install-systemd-boot.sh}
      ''
    else
      pkgs.writeShellScript "no-boot-loader" "echo 'this system has no boot loader to install' >&2";
}
