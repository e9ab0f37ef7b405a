# The scripts that destroy, make and mount a layout.
#
# Two generations of names, as disko has them: `diskoScript`, `formatScript`, `mountScript` are
# scripts themselves; `destroyFormatMount`, `formatMount`, … are packages with a program in bin.
# Each also as `…NoDeps`, which takes its tools from the PATH of the machine that runs it.
# Invariant: only the scripts that destroy ask, and only the newer generation of them.
{
  lib,
  pkgs,
  layout,
}:
cfg:
let
  disks = lib.attrValues cfg.devices.disk;
  nodevs = lib.attrValues cfg.devices.nodev;
  # Those that the layout keeps are made and mounted as the others are, where something misses.
  erased = map (disk: disk.device) (lib.filter (disk: disk.destroy) disks);

  mounts = map (disk: layout.mount disk.content) disks;
  mountCommands = lib.mergeAttrsList (lib.catAttrs "fs" mounts ++ map layout.mountNodev nodevs);

  prelude = ''
    set -efu
    root=${lib.escapeShellArg cfg.rootMountPoint}

    ${builtins.readFile ./prelude.sh}
  '';

  destroy = ''
    if findmnt "$root" > /dev/null; then
      umount -Rv "$root"
    fi
    for dev in ${toString erased}; do
      wipeDisk "$dev"
    done
  '';
  create = lib.concatMapStrings (disk: layout.create disk.content) disks;
  mount =
    lib.concatStrings (lib.catAttrs "dev" mounts)
    # Names sort parents before what is mounted below them.
    + lib.concatStrings (lib.attrValues mountCommands);
  unmount = ''
    if findmnt "$root" > /dev/null; then
      umount -Rv "$root"
    fi
    ${lib.concatMapStrings (disk: layout.close disk.content) disks}
  '';
  confirm = ''
    confirmWipe ${lib.escapeShellArg (toString erased)} "$@"
  '';

  packages = [
    pkgs.coreutils
    pkgs.gnugrep
    pkgs.util-linux
    pkgs.systemd
    pkgs.cryptsetup
  ]
  ++ lib.concatMap (disk: layout.packages disk.content pkgs) disks;
  path = lib.concatMapStringsSep ":" (dir: lib.makeSearchPath dir (lib.unique packages)) [
    "bin"
    "sbin"
  ];

  withTools = text: "#!${pkgs.bash}/bin/bash\nexport PATH=${path}:$PATH\n${prelude}${text}";
  withoutTools = text: "#!/usr/bin/env bash\n${prelude}${text}";

  # Name of the attribute -> name of the script and its text.
  scripts = {
    destroyScript = {
      name = "disko-destroy";
      text = destroy;
    };
    formatScript = {
      name = "disko-format";
      text = create;
    };
    mountScript = {
      name = "disko-mount";
      text = mount;
    };
    diskoScript = {
      name = "disko";
      text = destroy + create + mount;
    };
  };
  programs = {
    destroy = {
      name = "disko-destroy";
      text = confirm + destroy;
    };
    format = {
      name = "disko-format";
      text = create;
    };
    mount = {
      name = "disko-mount";
      text = mount;
    };
    unmount = {
      name = "disko-unmount";
      text = unmount;
    };
    formatMount = {
      name = "disko-format-mount";
      text = create + mount;
    };
    destroyFormatMount = {
      name = "disko-destroy-format-mount";
      text = confirm + destroy + create + mount;
    };
  };

  both =
    write: set:
    lib.mapAttrs (_: s: write s.name (withTools s.text)) set
    // lib.mapAttrs' (
      attribute: s: lib.nameValuePair "${attribute}NoDeps" (write s.name (withoutTools s.text))
    ) set;
  all = both pkgs.writeScript scripts // both pkgs.writeScriptBin programs;
in
{
  scripts = all // {
    # The oldest names.
    disko = lib.warn "system.build.disko is the old name of system.build.diskoScript." all.diskoScript;
    diskoNoDeps = lib.warn "system.build.diskoNoDeps is the old name of system.build.diskoScriptNoDeps." all.diskoScriptNoDeps;
  };
}
