# A partition table.
{ lib, tools }:
let
  inherit (lib) mkOption types;

  hex = n: "[A-Fa-f0-9]{${toString n}}";
  typeCode = types.either (types.strMatching (hex 4)) (
    types.strMatching (lib.concatMapStringsSep "-" hex [ 8 4 4 4 12 ])
  );

  # The name of a partition in the table has room for 36 characters.
  fitLabel =
    label:
    if lib.stringLength label <= 36 then
      label
    else
      lib.substring 0 36 (builtins.hashString "sha256" label);

  inOrder =
    table:
    lib.sort (a: b: if a.priority == b.priority then a.name < b.name else a.priority < b.priority) (
      lib.attrValues table.partitions
    );
  numbered = f: table: lib.imap1 f (inOrder table);

  partition =
    parent:
    { name, config, ... }:
    {
      options = {
        name = tools.string name "The name of the partition.";
        label = tools.string (fitLabel "${parent.type}-${parent.name}-${config.name}") "The name in the table.";
        device = tools.string "/dev/disk/by-partlabel/${config.label}" "The device.";
        type = mkOption {
          type = typeCode;
          default = if config.content != null && config.content.type == "swap" then "8200" else "8300";
          description = "The kind of partition, a code of sgdisk or a GUID.";
        };
        priority = mkOption {
          type = types.int;
          default = if config.size == "100%" then 9001 else 1000;
          description = "Smaller numbers come first.";
        };
        size = mkOption {
          type = types.either (types.enum [ "100%" ]) (types.strMatching "[0-9]+[KMGTP]?");
          default = "0";
          description = "The size, or what is left.";
        };
        alignment = mkOption {
          type = types.int;
          default = 0;
          description = "Sectors that it begins at a multiple of; 0 for sgdisk's choice.";
        };
        start = tools.string "0" "Where it begins, for sgdisk.";
        end = tools.string (if config.size == "100%" then "-0" else "+${config.size}") "Where it ends, for sgdisk.";
        content = tools.contentOption {
          inherit (config) device;
          parent = config;
        };
      };
    };

  createPartition =
    device: n: part:
    let
      number = toString n;
    in
    ''
      if ! sgdisk --info=${number} ${device} | grep -q 'Partition unique GUID'; then
        sgdisk ${lib.optionalString (part.alignment != 0) "--set-alignment=${toString part.alignment} "}--align-end \
          --new=${number}:${part.start}:${part.end} \
          --change-name=${number}:${lib.escapeShellArg part.label} \
          --typecode=${number}:${part.type} \
          ${device}
        announcePartitions ${device}
      fi
      waitFor ${lib.escapeShellArg part.device}
      ${tools.create part.content}
    '';

  mounts = table: map (part: tools.mount part.content) (inOrder table);
in
{
  options =
    { device, parent, ... }:
    {
      device = tools.string device "The disk.";
      partitions = mkOption {
        type = types.attrsOf (types.submodule (partition parent));
        default = { };
        description = "The partitions.";
      };
    };

  create =
    table:
    ''
      if ! blkid ${table.device} > /dev/null; then
        sgdisk --clear ${table.device}
        announcePartitions ${table.device}
      fi
    ''
    + lib.concatStrings (numbered (createPartition table.device) table);

  mount = table: {
    dev = lib.concatStrings (lib.catAttrs "dev" (mounts table));
    fs = lib.mergeAttrsList (lib.catAttrs "fs" (mounts table));
  };
  close = table: lib.concatMapStrings (part: tools.close part.content) (inOrder table);
  config =
    table:
    lib.concatMap (part: tools.config part.content) (inOrder table)
    # GRUB's code for BIOS goes to the disks that have a partition for it.
    ++ lib.optional (lib.any (part: part.type == "EF02") (inOrder table)) {
      boot.loader.grub.devices = [ table.device ];
    };
  packages =
    table: pkgs:
    [
      pkgs.gptfdisk
      pkgs.parted
      pkgs.systemd
    ]
    ++ lib.concatMap (part: tools.packages part.content pkgs) (inOrder table);
}
