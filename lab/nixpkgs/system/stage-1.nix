# The initrd of installed systems: systemd, as NixOS has it.
#
# It holds the kernel modules that the configuration names and no others: with the hardware file of
# another machine the disk is not found, and the system does not start.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  initrd = config.boot.initrd;
  kernel = config.boot.kernelPackages.kernel;

  fileSystems = lib.sortOn (fs: fs.mountPoint) (
    lib.filter (fs: fs.enable && utils.fsNeededForBoot fs) (lib.attrValues config.fileSystems)
  );
  fstabLine =
    fs:
    let
      bind = builtins.elem "bind" fs.options;
      device = if bind then "/sysroot${fs.device}" else if fs.device == null then fs.fsType else fs.device;
      where = "/sysroot${lib.optionalString (fs.mountPoint != "/") fs.mountPoint}";
    in
    "${device} ${where} ${fs.fsType} ${lib.concatStringsSep "," (lib.unique (fs.options ++ [ "x-initrd.mount" ]))} 0 0";

  # The crypttab of the initrd, with the options that NixOS has a name for.
  crypttabLine =
    device:
    let
      options =
        lib.optional (device.header != null) "header=${device.header}"
        ++ lib.optional (device.keyFileSize != null) "keyfile-size=${toString device.keyFileSize}"
        ++ lib.optional (device.keyFileOffset != null) "keyfile-offset=${toString device.keyFileOffset}"
        ++ lib.optional (device.keyFileTimeout != null) "keyfile-timeout=${toString device.keyFileTimeout}"
        ++ lib.optional device.allowDiscards "discard"
        ++ lib.optionals device.bypassWorkqueues [ "no-read-workqueue" "no-write-workqueue" ]
        ++ lib.optional device.tryEmptyPassphrase "try-empty-password"
        ++ device.crypttabExtraOpts;
    in
    lib.concatStringsSep " " [
      device.name
      device.device
      (if device.keyFile == null then "-" else device.keyFile)
      (if options == [ ] then "luks" else lib.concatStringsSep "," ([ "luks" ] ++ options))
    ];

  withUnits = config.system.build.initrdUnits;
  withNetwork = initrd.systemd.network.enable;
  contents = pkgs.runCommand "initrd-contents" { } (
    "mkdir $out\n"
    + lib.concatStrings (
      lib.mapAttrsToList (
        path: file:
        let
          source = if file.text == null then file.source else pkgs.writeText (baseNameOf path) file.text;
        in
        "install -D -m 644 ${source} $out/${lib.escapeShellArg path}\n"
      ) initrd.systemd.contents
    )
  );
  activation = ''
    [Unit]
    Description=NixOS Activation
    DefaultDependencies=no
    AssertPathExists=/etc/initrd-release
    Requires=initrd-fs.target
    After=initrd-fs.target
    Before=initrd.target initrd-cleanup.service shutdown.target
    Conflicts=shutdown.target
    OnFailure=emergency.target
    OnFailureJobMode=replace-irreversibly

    [Service]
    Type=oneshot
    ExecStart=/bin/sh /etc/activate-root
    StandardOutput=journal+console
    StandardError=journal+console
  '';
in
{
  # Apart from the system's own programs: these change with every package that is added.
  system.build.initrdPrograms = pkgs.buildEnv {
    name = "initrd-path";
    paths = map (name: pkgs.components.${name}) [
      "btrfs-progs"
      "dmsetup"
      "kmod"
      "openssh"
      "systemd"
      "systemd-cryptsetup"
      "udev"
      "util-linux"
    ];
  };

  system.build.initialRamdisk =
    pkgs.runCommand "initrd"
      {
        modules = toString (initrd.availableKernelModules ++ initrd.kernelModules);
        withLuks = if initrd.luks.devices != { } || initrd.luks.forceLuksSupportInInitrd then "1" else "";
        kernelModules = kernel.modules;
        programs = config.system.build.initrdPrograms;
        files = [
          "${pkgs.components.initrd-files}/files"
        ]
        ++ lib.optional withNetwork "${pkgs.components.initrd-network}/files";
        withNetwork = if withNetwork then "1" else "";
        inherit contents;
        rootShell = if initrd.network.ssh.shell == null then "/bin/sh" else initrd.network.ssh.shell;
        inherit (pkgs) bash busybox;
        fstab = lib.concatLines (map fstabLine fileSystems);
        crypttab = lib.concatLines (map crypttabLine (lib.attrValues initrd.luks.devices));
        loadNow = lib.concatLines initrd.kernelModules;
        modprobeConfig = config.environment.etc."modprobe.d/nixos.conf".source;
        inherit activation;
        activateRoot = ./programs/activate-root.sh;
        unitLists = [
          ./initrd-units.txt
        ]
        ++ lib.optional withNetwork ./initrd-network-units.txt;
        units = withUnits;
        storePaths = toString initrd.systemd.storePaths;
      }
      (builtins.readFile ./programs/make-initrd.sh);

  boot.kernelParams = [
    "root=fstab"
    # Reading a whole file system before it is mounted takes emulated disks long.
    "fsck.mode=skip"
  ];
}
