# What landfall needs to know of a configuration, in one evaluation.
# The argument is an element of nixosConfigurations; options that a
# configuration does not have are null or empty.
sys:
let
  c = sys.config;
  values = set: map (name: set.${name}) (builtins.attrNames set);
  named = f: set: map (name: f name set.${name}) (builtins.attrNames set);

  mentions = words: text: builtins.replaceStrings words (map (_: "") words) text != text;
  elements = set: if builtins.isList set then set else values set;
  text = value: if value == null then null else toString value;

  # The value at a path of the configuration; `default` where there is none, or where the
  # option is there only to say that it was removed.
  get = path: default:
    let
      below = found: name:
        if found != null && builtins.isAttrs found.value && found.value ? ${name} then
          { value = found.value.${name}; }
        else null;
      found = builtins.foldl' below { value = c; } path;
      read = builtins.tryEval (if found == null then default else found.value);
    in
    if read.success then read.value else default;

  # The layout: everything in disko.devices, and what lies in each of it.
  devices = c.disko.devices or { };
  groups = builtins.filter (
    group: builtins.substring 0 1 group != "_" && builtins.isAttrs devices.${group}
  ) (builtins.attrNames devices);
  parts = builtins.concatMap (
    kind: named (name: value: { inherit kind name value; key = "${kind}/${name}"; }) devices.${kind}
  ) groups;
  inside = content:
    builtins.filter builtins.isAttrs (
      [ (content.content or null) ]
      ++ map (part: part.content or null) (elements (content.partitions or [ ]))
      ++ map (volume: volume.content or null) (elements (content.lvs or [ ]))
      ++ values (removeAttrs (content.datasets or { }) [ "__root" ])
    );
  all = content: [ content ] ++ builtins.concatMap all (inside content);

  # What is made of several partitions is named by each of them.
  memberOf = content:
    {
      mdraid = [ "mdadm/${content.name or ""}" ];
      lvm_pv = [ "lvm_vg/${content.vg or ""}" ];
      zfs = [ "zpool/${content.pool or ""}" ];
      bcachefs = [ "bcachefs_filesystems/${content.filesystem or ""}" ];
    }.${content.type or ""} or [ ];
  # Those that lie, even in part, on a disk that stays as it is.
  staying = map (part: part.key) (builtins.genericClosure {
    startSet = builtins.filter (part: part.kind == "disk" && !(part.value.destroy or true)) parts;
    operator = part:
      let members = builtins.concatMap memberOf (all part.value);
      in builtins.filter (other: builtins.elem other.key members) parts;
  });
  # `f` of each content that has this type.
  ofType = type: f:
    builtins.concatMap (
      part:
      map (content: f content // { kept = builtins.elem part.key staying; }) (
        builtins.filter (content: content.type or "" == type) (all part.value)
      )
    ) parts;

  luks = content:
    let
      settings = content.settings or { };
      passwordFile = content.passwordFile or null;
      oldKeyFile = content.keyFile or null;
    in
    {
      inherit (content) name;
      passwordFile = text passwordFile;
      keyFile = text (settings.keyFile or null);
      oldKeyFile = text oldKeyFile;
      additionalKeyFiles = map toString (content.additionalKeyFiles or [ ]);
      askPassword = (content.askPassword or (passwordFile == null && oldKeyFile == null && !(settings ? keyFile)))
        || (settings ? keyFile && settings.keyFile == null);
      # How much of its key file is read.
      keyBytes =
        if settings.keyFileSize or null == null && settings.keyFileOffset or null == null then null
        else toString (settings.keyFileOffset or 0) + "+" + toString (settings.keyFileSize or 0);
      argumentsNameKey = mentions [ "--key-file" ] (
        toString (content.extraFormatArgs or [ ] ++ content.extraOpenArgs or [ ])
      );
      initrdUnlock = content.initrdUnlock or true;
    };

  # The keys of a pool and of its datasets; one that has none of these options inherits.
  zfsKeys = part:
    let
      pool = part.value;
      poolName = pool.name or part.name;
      hooks = toString (map (content: content.postCreateHook or "") (all pool));
      key = name: options:
        if options.encryption or "" == "off" || !(options ? keyformat || options.keylocation or "none" != "none")
        then [ ]
        else [ {
          inherit name;
          keyFormat = options.keyformat or null;
          keyLocation = options.keylocation or "prompt";
          promptsLater = mentions [
            "keylocation=prompt"
            "keylocation=\"prompt\""
            "keylocation='prompt'"
          ] hooks;
          kept = builtins.elem part.key staying;
        } ];
    in
    key poolName (pool.rootFsOptions or { })
    ++ builtins.concatLists (
      named (name: dataset: key "${poolName}/${dataset.name or name}" (dataset.options or { })) (
        removeAttrs (pool.datasets or { }) [ "__root" ]
      )
    );

  # Whether a disk has room for GRUB's code for BIOS; null where it is no GPT.
  biosBoot = content:
    if content.type or "" != "gpt" then null
    else
      builtins.any (
        p: builtins.elem (p.type or "") [ "EF02" "ef02" "21686148-6449-6E6F-744E-656564454649" ]
      ) (elements (content.partitions or { }));

  efi = get [ "boot" "loader" "efi" "canTouchEfiVariables" ] false;
  grub = name: get [ "boot" "loader" "grub" name ];
  lanzaboote = name: get [ "boot" "lanzaboote" name ];
  # The boot loader that UEFI alone can start.
  uefiLoader =
    if lanzaboote "enable" false then "lanzaboote"
    else if get [ "boot" "loader" "systemd-boot" "enable" ] false then "systemd-boot"
    else null;

  # What NixOS refuses when the system is built, and what it warns of then.
  assertions = builtins.tryEval (map (assertion:
    let
      holds = builtins.tryEval assertion.assertion;
      message = builtins.tryEval (toString assertion.message);
    in
    {
      holds = holds.success && holds.value;
      throws = !holds.success;
      message = if message.success then message.value else "(its message cannot be evaluated)";
    }
  ) (c.assertions or [ ]));
  warnings = builtins.tryEval (
    builtins.concatMap (warning:
      let read = builtins.tryEval (toString warning);
      in if read.success then [ read.value ] else [ ]
    ) (c.warnings or [ ])
  );

  secretOf = name: s: {
    inherit name;
    sopsFile = toString s.sopsFile;
    key = s.key or name;
    format = s.format or "yaml";
    path = s.path or (
      if s.neededForUsers or false then "/run/secrets-for-users/${name}" else "/run/secrets/${name}"
    );
    neededForUsers = s.neededForUsers or false;
  };

  initrd = c.boot.initrd;
  # What runs in the initrd and could make the root new.
  initrdScripts = toString (
    map (service: service.script or "") (values (get [ "boot" "initrd" "systemd" "services" ] { }))
    ++ map (name: get [ "boot" "initrd" name ] "") [
      "preLVMCommands"
      "postDeviceCommands"
      "postResumeCommands"
      "postMountCommands"
    ]
  );

  # impermanence: what is kept below which folder, each by the path where it is used.
  kept = storage: homeOf: entries:
    map (entry: {
      inherit storage;
      path = entry.dirPath or entry.filePath or (homeOf (entry.directory or entry.file or entry));
    }) entries;
  keptBelow = name: p:
    let
      storage = p.persistentStoragePath or name;
      ofUser = user: u:
        let inHome = path: "${c.users.users.${user}.home}/${path}"; in
        kept storage inHome (u.directories or [ ] ++ u.files or [ ]);
    in
    kept storage (path: path) (p.directories or [ ] ++ p.files or [ ])
    ++ builtins.concatLists (named ofUser (p.users or { }));
  # The other module for the same has the same form.
  preserved =
    if get [ "preservation" "enable" ] false then get [ "preservation" "preserveAt" ] { } else { };

  isGit = package:
    builtins.match "git(-(minimal|full|svn|with-svn))?(-[0-9].*)?" (package.pname or package.name or "")
    != null;
  anyGit = builtins.any isGit;

  # home-manager's sops of a user.
  homeSops = user:
    let home = (c.home-manager.users or { }).${user} or { };
    in
    if home ? sops then {
      keyFile = home.sops.age.keyFile or null;
      sshKeyPaths = map toString (home.sops.age.sshKeyPaths or [ ]);
      secrets = named secretOf (home.sops.secrets or { });
    } else null;
in
{
  hostName = c.networking.hostName;
  system = c.nixpkgs.hostPlatform.system or sys.pkgs.stdenv.hostPlatform.system;
  builds = builtins.filter (name: c.system.build ? ${name}) [
    "toplevel"
    "destroyFormatMount"
    "formatMount"
    "format"
    "mount"
    "diskoScript"
    "formatScript"
    "mountScript"
  ];
  disks = named (name: disk: {
    inherit name;
    inherit (disk) device;
    destroy = disk.destroy or true;
    biosBoot = biosBoot (disk.content or { });
  }) (c.disko.devices.disk or { });
  failedAssertions = map (assertion: assertion.message) (
    builtins.filter (assertion: !assertion.holds && !assertion.throws) (
      if assertions.success then assertions.value else [ ]
    )
  );
  assertionsThrow = !assertions.success
    || builtins.any (assertion: assertion.throws) assertions.value;
  warnings = if warnings.success then warnings.value else [ ];
  luksVolumes = ofType "luks" luks;
  zfsKeys = builtins.concatMap zfsKeys (builtins.filter (part: part.kind == "zpool") parts);
  bcachefs = map (part: {
    name = part.value.name or part.name;
    passwordFile = text (part.value.passwordFile or null);
    asks = part.value.passwordFile or null == null
      && mentions [ "--encrypted" ] (toString (part.value.extraFormatArgs or [ ]));
    kept = builtins.elem part.key staying;
  }) (builtins.filter (part: part.kind == "bcachefs_filesystems") parts);
  # What landfall does not know of, it cannot say what it reads.
  unknownContents = builtins.filter (
    type:
    !builtins.elem type [
      "bcachefs"
      "bcachefs_filesystem"
      "btrfs"
      "disk"
      "filesystem"
      "gpt"
      "luks"
      "lvm_pv"
      "lvm_vg"
      "mdadm"
      "mdraid"
      "nodev"
      "swap"
      "table"
      "zfs"
      "zfs_fs"
      "zfs_volume"
      "zpool"
    ]
  ) (builtins.concatMap (part: builtins.concatMap (x: if x ? type then [ x.type ] else [ ]) (all part.value)) parts);
  # Commands of the user's own in disko's scripts.
  layoutHooks = builtins.filter (hook: hook != "") (
    builtins.concatMap (
      part:
      builtins.concatMap (
        content:
        map (name: content.${name} or "") [
          "preCreateHook"
          "postCreateHook"
          "preMountHook"
          "postMountHook"
        ]
      ) (all part.value)
    ) parts
  );
  fileSystems = map (fs: {
    inherit (fs) mountPoint fsType;
    neededForBoot = fs.neededForBoot or false;
  }) (values c.fileSystems);
  crypttab = get [ "environment" "etc" "crypttab" "text" ] null;
  initrdSecrets = named (path: source: {
    inherit path;
    source = if source == null then path else toString source;
  }) (initrd.secrets or { });
  rootIsMadeNew = mentions [
    "btrfs subvolume delete"
    "btrfs sub delete"
    "bcachefs subvolume delete"
    "zfs rollback"
  ] initrdScripts;
  persisted = builtins.concatLists (
    named keptBelow (get [ "environment" "persistence" ] { }) ++ named keptBelow preserved
  );
  hasGit = c.programs.git.enable or false
    || anyGit (c.environment.systemPackages or [ ])
    || builtins.any (user: anyGit (user.packages or [ ])) (values c.users.users)
    || builtins.any (home: home.programs.git.enable or false || anyGit (home.home.packages or [ ]))
      (values (c.home-manager.users or { }));
  inherit uefiLoader;
  # It is on by default, and off for another one.
  grub =
    if grub "enable" false && uefiLoader == null then {
      # Those that get its code for BIOS.
      devices = builtins.filter (device: device != "nodev") (
        builtins.concatMap (boot: boot.devices) (
          grub "mirroredBoots" [ { devices = grub "devices" [ ]; } ]
        )
      );
      forced = grub "forceInstall" false;
      uefi = grub "efiSupport" false;
      # Without one of these no firmware looks where it is.
      uefiFinds = grub "efiInstallAsRemovable" false || efi;
    } else null;
  sshEnabled = c.services.openssh.enable;
  sshPorts = c.services.openssh.ports or [ 22 ];
  hostKeys = map (key: { inherit (key) path type; }) (c.services.openssh.hostKeys or [ ]);
  initrdHostKeys =
    if c.boot.initrd.network.ssh.enable or false then
      map toString (c.boot.initrd.network.ssh.hostKeys or [ ])
    else [ ];
  initrdSshPort =
    if c.boot.initrd.network.ssh.enable or false then
      c.boot.initrd.network.ssh.port or 22
    else null;
  initrdSystemd = initrd.systemd.enable or false;
  secrets = named secretOf (c.sops.secrets or { });
  ageKeyFile = c.sops.age.keyFile or null;
  ageSshKeyPaths = map toString (c.sops.age.sshKeyPaths or [ ]);
  gnupgSshKeyPaths = map toString (c.sops.gnupg.sshKeyPaths or [ ]);
  users = map (user: {
    inherit (user) name home;
    groups = user.extraGroups or [ ];
    keys = builtins.length (user.openssh.authorizedKeys.keys or [ ])
      + builtins.length (user.openssh.authorizedKeys.keyFiles or [ ]);
    sops = homeSops user.name;
  }) (builtins.filter (user: user.isNormalUser or false) (values c.users.users));
  # nixos.org's own cache is known to every installer.
  substituters = builtins.filter (url: builtins.match "https?://cache.nixos.org/?" url == null) (
    c.nix.settings.substituters or [ ]
  );
  trustedPublicKeys = c.nix.settings.trusted-public-keys or [ ];
  facterReport =
    # The module of its own had the option at another place.
    text (get [ "hardware" "facter" "reportPath" ] (get [ "facter" "reportPath" ] null));
  lanzabooteBundle =
    if lanzaboote "enable" false && !(get [ "boot" "lanzaboote" "autoGenerateKeys" "enable" ] false) then
      toString (lanzaboote "pkiBundle" "/var/lib/sbctl")
    else null;
  rootKeys = builtins.length (c.users.users.root.openssh.authorizedKeys.keys or [ ])
    + builtins.length (c.users.users.root.openssh.authorizedKeys.keyFiles or [ ]);
}
