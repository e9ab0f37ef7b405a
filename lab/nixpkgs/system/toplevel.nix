# The system as one store path, in the shape that NixOS gives it.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  build = config.system.build;
  kernel = config.boot.kernelPackages.kernel;

  activate = pkgs.writeScript "activate" ''
    #!${pkgs.bash}/bin/bash
    # Makes the running root what this system says: /usr, accounts, /etc, secrets.
    ${build.mountUsr} @out@
    export PATH=/usr/bin LC_ALL=C
    umask 0022
    ln -sfn @out@ /run/current-system
    ${config.system.activationScripts.script}
  '';

  # Only on whoever makes images, and on systems that GRUB starts.
  elsewhere = [
    "grub2"
    "image-tools"
  ];

  # What a guest builds its next system with: there is no cache to fetch it from.
  forRebuilds =
    pkgs.withNeeds (
      lib.attrValues (lib.getAttrs (lib.attrNames (removeAttrs pkgs.debianNames elsewhere)) pkgs)
    )
    ++ [
      build.initrdPrograms
      pkgs.components.initrd-files
      pkgs.components.initrd-network
    ];
in
pkgs.runCommand "nixos-system-${config.networking.hostName}-${config.system.nixos.label}"
  {
    kernelParams = toString config.boot.kernelParams;
    extraDependencies = map toString (config.system.extraDependencies ++ lib.optionals (!build ? isoImage) forRebuilds);
    passAsFile = [ "extraDependencies" ];
  }
  ''
    mkdir -p $out/bin
    ln -s ${kernel}/bzImage $out/kernel
    ln -s ${kernel.modules} $out/kernel-modules
    ln -s ${build.initialRamdisk}/initrd $out/initrd
    ln -s ${build.etc}/etc $out/etc
    ln -s ${config.system.path} $out/sw
    ln -s ${config.system.path} $out/systemd
    ln -s ${config.system.path}/lib/systemd/systemd $out/init
    printf '%s' "$kernelParams" > $out/kernel-params
    printf '%s' 'systemd 257' > $out/init-interface-version
    printf '%s' '${config.system.nixos.label}' > $out/nixos-version
    printf '%s' '${pkgs.stdenv.hostPlatform.system}' > $out/system
    cp "$extraDependenciesPath" $out/extra-dependencies
    sed "s|@out@|$out|g" ${activate} > $out/activate
    sed "s|@out@|$out|; s|@installBootLoader@|${build.installBootLoader}|; s|@bash@|${pkgs.bash}|" \
      ${./programs/switch-to-configuration.sh} > $out/bin/switch-to-configuration
    ln -s activate $out/prepare-root
    chmod 555 $out/activate $out/bin/switch-to-configuration
  ''
