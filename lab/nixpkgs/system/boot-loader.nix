# The boot loader: systemd-boot or GRUB, with an entry for each generation.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) escapeShellArg;
  loader = config.boot.loader;
  secrets = pkgs.writeText "initrd-secrets" (
    lib.concatStrings (
      lib.mapAttrsToList (
        target: source: "${toString target}\t${if source == null then toString target else toString source}\n"
      ) config.boot.initrd.secrets
    )
  );
  title = escapeShellArg "${config.system.nixos.distroName or "NixOS"}";
  flag = value: if value then "1" else "";

  systemdBoot =
    let
      cfg = loader.systemd-boot;
    in
    pkgs.writeShellScript "install-systemd-boot" ''
      export PATH=/usr/bin
      esp=${escapeShellArg loader.efi.efiSysMountPoint}
      timeout=${if loader.timeout == null then "menu-force" else toString loader.timeout}
      editor=${if cfg.editor then "yes" else "no"}
      limit=${toString (if cfg.configurationLimit == null then 0 else cfg.configurationLimit)}
      touch_variables=${flag loader.efi.canTouchEfiVariables}
      graceful=${flag (cfg.graceful or false)}
      firmware_program=${pkgs.components.systemd-boot-efi}/lib/systemd/boot/efi/systemd-bootx64.efi
      secrets=${secrets}
      title=${title}
      source ${./programs/boot-files.sh}
      source ${./programs/install-systemd-boot.sh}
    '';

  grub =
    let
      cfg = loader.grub;
      to = mirror: ''
        (
          boot=${escapeShellArg mirror.path}
          devices=(${lib.escapeShellArgs mirror.devices})
          source ${./programs/install-grub.sh}
        )
      '';
    in
    pkgs.writeShellScript "install-grub" ''
      set -e
      export PATH=/usr/bin
      timeout=${toString (if loader.timeout == null then -1 else loader.timeout)}
      timeout_style=${cfg.timeoutStyle}
      default_entry=${escapeShellArg cfg.default}
      limit=${toString cfg.configurationLimit}
      secrets=${secrets}
      title=${title}
      version=${pkgs.grub2.version}
      install_arguments=(${lib.escapeShellArgs (cfg.extraGrubInstallArgs ++ lib.optional cfg.forceInstall "--force")})
      entry_options=${escapeShellArg (toString cfg.entryOptions)}
      sub_entry_options=${escapeShellArg (toString cfg.subEntryOptions)}
      extra_config=${escapeShellArg cfg.extraConfig}
      extra_entries=${escapeShellArg cfg.extraEntries}
      extra_per_entry=${escapeShellArg cfg.extraPerEntryConfig}
      entries_first=${flag cfg.extraEntriesBeforeNixOS}
      source ${./programs/boot-files.sh}
      ${lib.concatMapStrings to cfg.mirroredBoots}
      ${cfg.extraInstallCommands}
    '';
in
{
  system.build.installBootLoader =
    if loader.systemd-boot.enable then
      systemdBoot
    else if loader.grub.enable then
      grub
    else
      pkgs.writeShellScript "no-boot-loader" "echo 'this system has no boot loader to install' >&2";

  environment.systemPackages = lib.optional loader.grub.enable pkgs.grub2;
}
