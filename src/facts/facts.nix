# What landfall needs to know of a configuration, in one evaluation.
# The argument is an element of nixosConfigurations; options that a
# configuration does not have are null or empty.
sys:
let
  c = sys.config;
  values = set: map (name: set.${name}) (builtins.attrNames set);
  named = f: set: map (name: f name set.${name}) (builtins.attrNames set);

  # The LUKS volumes in a disko content tree.
  luksIn = content:
    if content == null || !(content ? type) then [ ]
    else if content.type == "luks" then
      [ {
        inherit (content) name;
        passwordFile = content.passwordFile or null;
        keyFile = content.settings.keyFile or null;
        additionalKeyFiles = map toString (content.additionalKeyFiles or [ ]);
        askPassword = content.askPassword or false;
        initrdUnlock = content.initrdUnlock or true;
      } ] ++ luksIn (content.content or null)
    else if content ? partitions then
      builtins.concatMap (p: luksIn (p.content or null)) (values content.partitions)
    else luksIn (content.content or null);

  # Whether a disk has room for GRUB's code for BIOS; null where it is no GPT.
  biosBoot = content:
    if content.type or "" != "gpt" then null
    else
      builtins.any (
        p: builtins.elem (p.type or "") [ "EF02" "ef02" "21686148-6449-6E6F-744E-656564454649" ]
      ) (values (content.partitions or { }));

  loader = c.boot.loader or { };
  lanzaboote = c.boot.lanzaboote or { };
  grub = loader.grub or { };
  # The boot loader that UEFI alone can start.
  uefiLoader =
    if lanzaboote.enable or false then "lanzaboote"
    else if loader.systemd-boot.enable or false then "systemd-boot"
    else null;

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
    map (service: service.script or "") (values (initrd.systemd.services or { }))
    ++ map (name: initrd.${name} or "") [
      "preLVMCommands"
      "postDeviceCommands"
      "postResumeCommands"
      "postMountCommands"
    ]
  );
  mentions = words: text: builtins.replaceStrings words (map (_: "") words) text != text;

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
    luks = luksIn (disk.content or null);
    biosBoot = biosBoot (disk.content or { });
  }) (c.disko.devices.disk or { });
  fileSystems = map (fs: {
    inherit (fs) mountPoint fsType;
    neededForBoot = fs.neededForBoot or false;
  }) (values c.fileSystems);
  crypttab = (c.environment.etc.crypttab or { }).text or null;
  initrdSecrets = named (path: source: {
    inherit path;
    source = if source == null then path else toString source;
  }) (initrd.secrets or { });
  rootIsMadeNew = mentions [ "btrfs subvolume delete" "zfs rollback" ] initrdScripts;
  persisted = builtins.concatLists (named keptBelow (c.environment.persistence or { }));
  hasGit = c.programs.git.enable or false
    || anyGit (c.environment.systemPackages or [ ])
    || builtins.any (user: anyGit (user.packages or [ ])) (values c.users.users)
    || builtins.any (home: home.programs.git.enable or false || anyGit (home.home.packages or [ ]))
      (values (c.home-manager.users or { }));
  inherit uefiLoader;
  # It is on by default, and off for another one.
  grub =
    if grub.enable or false && uefiLoader == null then {
      # Those that get its code for BIOS.
      devices = builtins.filter (device: device != "nodev") (
        if grub ? mirroredBoots then builtins.concatMap (boot: boot.devices) grub.mirroredBoots
        else grub.devices or [ ]
      );
      forced = grub.forceInstall or false;
      uefi = grub.efiSupport or false;
      # Without one of these no firmware looks where it is.
      uefiFinds = grub.efiInstallAsRemovable or false || loader.efi.canTouchEfiVariables or false;
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
    let path = c.hardware.facter.reportPath or null;
    in if path == null then null else toString path;
  lanzabooteBundle =
    if (lanzaboote.enable or false) && !(lanzaboote.autoGenerateKeys.enable or false) then
      toString (lanzaboote.pkiBundle or "/var/lib/sbctl")
    else null;
  rootKeys = builtins.length (c.users.users.root.openssh.authorizedKeys.keys or [ ])
    + builtins.length (c.users.users.root.openssh.authorizedKeys.keyFiles or [ ]);
}
