# The templates evaluate in each of their layouts, and every option that they use is declared here
# in the file that declares it in NixOS.
{
  lib,
  evalConfig,
  disko,
  sops,
  nixpkgs,
  templates,
  ...
}:
let
  inherit
    (evalConfig [
      disko
      sops
      (nixpkgs + "/nixos/modules/installer/cd-dvd/iso-image.nix")
    ])
    options
    ;

  lines = lib.filter (line: line != "" && !lib.hasPrefix "#" line) (
    lib.splitString "\n" (builtins.readFile ./options.txt)
  );
  parse =
    line:
    let
      words = lib.splitString " " line;
    in
    {
      name = lib.head words;
      path = lib.splitString "." (lib.head words);
      file = lib.last words;
    };

  # The files that declare the option at a path, or one around it that takes any name. Layouts of
  # disks are told apart by values, so their insides have no declarations to look at.
  declarations =
    node: path:
    if lib.isOption node then
      if path == [ ] || lib.head path == "content" then
        node.declarations
      else if node.type.name == "attrsOf" then
        inside node.declarations (node.type.nestedTypes.elemType.getSubOptions [ ]) (lib.tail path)
      else
        inside node.declarations (node.type.getSubOptions [ ]) path
    else if node ? ${lib.head path} then
      declarations node.${lib.head path} (lib.tail path)
    else
      [ ];
  inside =
    outer: sub: path:
    if sub == { } || path == [ ] then
      outer
    else if sub ? ${lib.head path} then
      outer ++ declarations sub.${lib.head path} (lib.tail path)
    else if sub ? _module then
      outer
    else
      [ ];

  undeclared = lib.filter (o: declarations options o.path == [ ]) (map parse lines);
  elsewhere = lib.filter (
    o:
    lib.hasPrefix "nixos/modules/" o.file
    # Outputs have no declarations of their own.
    && !lib.hasPrefix "system.build." o.name
    && !lib.any (lib.hasSuffix o.file) (declarations options o.path)
  ) (map parse lines);

  # The templates' own flakes, called with the lab's inputs.
  inputs = {
    nixpkgs.lib = lib.extend (
      _: _: {
        nixosSystem =
          arguments: import (nixpkgs + "/nixos/lib/eval-config.nix") ({ inherit lib; } // arguments);
      }
    );
    disko.nixosModules.disko = disko;
    sops-nix.nixosModules.sops = sops;
    nix-secrets = templates + "/nix-secrets";
  };
  disks = templates + "/nix-config/hosts/common/disks";
  full = (import (templates + "/nix-config/flake.nix")).outputs inputs;
  installer = (import (templates + "/nix-config/nixos-installer/flake.nix")).outputs {
    inherit (inputs) nixpkgs disko;
    self = installer;
  };

  # The host with another layout than the one it comes with.
  withLayout =
    flake: layout:
    flake.nixosConfigurations.guppy.extendModules {
      modules = [
        { disabledModules = [ (disks + "/btrfs-luks-disk.nix") ]; }
        {
          key = "layout";
          imports = [ (import (disks + "/${layout}.nix")) ];
        }
      ];
    };
  layouts = [
    "btrfs-disk"
    "btrfs-luks-disk"
    "btrfs-luks-impermanence-disk"
    "ext4-disk"
  ];
  inEach = flake: f: lib.genAttrs layouts (layout: f (withLayout flake layout).config);
  # The same for a machine that is started by a BIOS.
  forBios = config: config.extendModules { modules = [ (disks + "/bios.nix") ]; };
  inEachForBios = flake: f: lib.genAttrs layouts (layout: f (forBios (withLayout flake layout)).config);
  has = text: lib.all (part: lib.hasInfix part text);
  isDerivation = path: lib.hasSuffix ".drv" path;
in
{
  options-are-declared = {
    expr = map (o: o.name) undeclared;
    expected = [ ];
  };
  options-are-where-nixos-has-them = {
    expr = map (o: "${o.name}: ${toString (declarations options o.path)}") elsewhere;
    expected = [ ];
  };

  full-system = {
    expr = inEach full (config: isDerivation config.system.build.toplevel.drvPath);
    expected = lib.genAttrs layouts (_: true);
  };
  minimal-system = {
    expr = inEach installer (config: isDerivation config.system.build.toplevel.drvPath);
    expected = lib.genAttrs layouts (_: true);
  };
  both-systems-mean-the-same-disks = {
    expr = inEach full (config: config.system.build.diskoScript.text);
    expected = inEach installer (config: config.system.build.diskoScript.text);
  };
  installer-image = {
    expr = isDerivation installer.packages.x86_64-linux.iso.drvPath;
    expected = true;
  };
  started-by-a-bios = {
    expr = inEachForBios full (config: {
      system = isDerivation config.system.build.toplevel.drvPath;
      inherit (config.boot.loader.grub) enable devices;
    });
    expected = lib.genAttrs layouts (_: {
      system = true;
      enable = true;
      devices = [ "/dev/vda" ];
    });
  };
  first-started-by-a-bios = {
    expr = inEachForBios installer (config: isDerivation config.system.build.toplevel.drvPath);
    expected = lib.genAttrs layouts (_: true);
  };
  room-for-grub-comes-first = {
    expr = has ((forBios full.nixosConfigurations.guppy).config.system.build.diskoScript.text) [
      "--new=1:0:+1M"
      "--typecode=1:EF02"
      "--new=2:0:+1G"
    ];
    expected = true;
  };
  mounted-by-the-initrd = {
    expr = inEach full (
      config:
      lib.attrNames (lib.filterAttrs (_: fs: builtins.elem "x-initrd.mount" fs.options) config.fileSystems)
    );
    expected = {
      btrfs-disk = [
        "/"
        "/nix"
      ];
      btrfs-luks-disk = [
        "/"
        "/nix"
      ];
      btrfs-luks-impermanence-disk = [
        "/"
        "/nix"
        "/persist"
        "/var/lib"
        "/var/log"
      ];
      ext4-disk = [ "/" ];
    };
  };
  key-that-opens-the-secrets = {
    expr = inEach full (config: config.sops.age.sshKeyPaths);
    expected = {
      btrfs-disk = [ "/etc/ssh/ssh_host_ed25519_key" ];
      btrfs-luks-disk = [ "/etc/ssh/ssh_host_ed25519_key" ];
      btrfs-luks-impermanence-disk = [ "/persist/etc/ssh/ssh_host_ed25519_key" ];
      ext4-disk = [ "/etc/ssh/ssh_host_ed25519_key" ];
    };
  };
  same-host-key-in-both = {
    expr = inEach installer (config: map (key: key.path) config.services.openssh.hostKeys);
    expected = inEach full (config: config.sops.age.sshKeyPaths);
  };
  rollback-in-the-initrd = {
    expr = (withLayout full "btrfs-luks-impermanence-disk").config.boot.initrd.systemd.units."rollback-root.service".wantedBy;
    expected = [ "initrd.target" ];
  };
}
