# /etc/systemd/system: the units of the configuration, and Debian's that a guest does without.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  # Started by Debian's packages; NixOS has none of it, or the lab's guests have no use for it.
  unwanted = [
    "dev-hugepages.mount"
    "dev-mqueue.mount"
    "getty-static.service"
    "kmod-static-nodes.service"
    "ldconfig.service"
    "proc-sys-fs-binfmt_misc.automount"
    "run-lock.mount"
    "ssh.socket"
    "sys-fs-fuse-connections.mount"
    "sys-kernel-config.mount"
    "sys-kernel-debug.mount"
    "sys-kernel-tracing.mount"
    "systemd-battery-check.service"
    "systemd-binfmt.service"
    "systemd-creds.socket"
    "systemd-firstboot.service"
    "systemd-hibernate-clear.service"
    "systemd-hostnamed.socket"
    "systemd-hwdb-update.service"
    "systemd-initctl.socket"
    "systemd-journal-catalog-update.service"
    "systemd-machine-id-commit.service"
    "systemd-network-generator.service"
    "systemd-networkd-persistent-storage.service"
    "systemd-pcrextend.socket"
    "systemd-pcrlock.socket"
    "systemd-pcrmachine.service"
    "systemd-pcrphase.service"
    "systemd-pcrphase-sysinit.service"
    "systemd-sysext.socket"
    "systemd-sysusers.service"
    "systemd-tmpfiles-setup-dev-early.service"
    "systemd-tpm2-setup.service"
    "systemd-tpm2-setup-early.service"
    "systemd-udev-load-credentials.service"
    "systemd-update-done.service"
  ];

  unitsOf =
    name: units: masked:
    let
      commands = lib.concatStrings (lib.mapAttrsToList add units);
      add =
        unit: definition:
        let
          file = pkgs.writeText (lib.replaceStrings [ "@" "\\" ] [ "-" "-" ] "unit-${unit}") definition.text;
          dropIn = definition.overrideStrategy or "asDropinIfExists" == "asDropin";
          link =
            kind: target: ''
              mkdir -p $out/'${target}.${kind}'
              ln -sfn '../${unit}' $out/'${target}.${kind}/${unit}'
            '';
        in
        if !definition.enable then
          "ln -sfn /dev/null $out/'${unit}'\n"
        else
          ''
            if ${if dropIn then "true" else "[ -e ${pkgs.systemd}/lib/systemd/system/'${unit}' ]"}; then
              mkdir -p $out/'${unit}.d'
              ln -sfn ${file} $out/'${unit}.d/overrides.conf'
            else
              ln -sfn ${file} $out/'${unit}'
            fi
          ''
          + lib.concatMapStrings (alias: "ln -sfn '${unit}' $out/'${alias}'\n") definition.aliases or [ ]
          + lib.concatMapStrings (link "wants") definition.wantedBy or [ ]
          + lib.concatMapStrings (link "requires") definition.requiredBy or [ ]
          + lib.concatMapStrings (link "upholds") definition.upheldBy or [ ];
    in
    pkgs.runCommand name { } (
      "mkdir -p $out\n"
      + commands
      + lib.concatMapStrings (unit: "[ -e $out/'${unit}' ] || ln -s /dev/null $out/'${unit}'\n") masked
    );

  networkd = lib.optionalString config.systemd.network.enable ''
    mkdir -p $out/multi-user.target.wants $out/network-online.target.wants
    ln -s /usr/lib/systemd/system/systemd-networkd.service $out/multi-user.target.wants/
    ln -s /usr/lib/systemd/system/systemd-networkd-wait-online.service $out/network-online.target.wants/
  '';

  units = unitsOf "system-units" config.systemd.units unwanted;
in
{
  system.build.units = pkgs.runCommand "units" { } ''
    cp -a ${units} $out
    chmod u+w $out $out/*.wants
    ln -sfn /usr/lib/systemd/system/multi-user.target $out/default.target
    ${networkd}
  '';
  system.build.initrdUnits = unitsOf "initrd-units" config.boot.initrd.systemd.units [ ];

  environment.etc = {
    "systemd/system".source = config.system.build.units;
    # A guest on a busy machine is slow, not broken.
    "systemd/system.conf.d/patience.conf".text = ''
      [Manager]
      DefaultDeviceTimeoutSec=300
      DefaultTimeoutStartSec=300
    '';
    # Its only purpose is to guess what the configuration says.
    "systemd/system-generators/systemd-gpt-auto-generator".source = "/dev/null";
    "systemd/system-generators/systemd-ssh-generator".source = "/dev/null";
    "systemd/system-generators/systemd-sysv-generator".source = "/dev/null";
    "systemd/system-generators/systemd-tpm2-generator".source = "/dev/null";
  };
}
