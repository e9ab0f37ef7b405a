# The NixOS module: which secrets a host has, and where they appear.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.sops;

  string =
    default: description:
    mkOption {
      type = types.str;
      inherit default description;
    };
  nullOr =
    type: default: description:
    mkOption {
      type = types.nullOr type;
      inherit default description;
    };
  strings =
    description:
    mkOption {
      type = types.listOf types.str;
      default = [ ];
      inherit description;
    };

  secret =
    { name, config, ... }:
    {
      options = {
        name = string name "The file below /run/secrets.";
        key = string (if cfg.defaultSopsKey != null then cfg.defaultSopsKey else name) "Where the value is in the file; `/` goes into maps, empty means the whole file.";
        path = string "/run/secrets${lib.optionalString config.neededForUsers "-for-users"}/${config.name}" "Where the secret can be read.";
        format = mkOption {
          type = types.enum [
            "yaml"
            "json"
            "binary"
            "dotenv"
            "ini"
          ];
          default = cfg.defaultSopsFormat;
          description = "The format of the file.";
        };
        mode = string "0400" "The mode of the secret.";
        owner = nullOr types.str null "Who owns it.";
        uid = nullOr types.int 0 "Who owns it, by number, when owner is null.";
        group = nullOr types.str (if config.owner == null then null else ownerGroup config.owner) "Its group.";
        gid = nullOr types.int 0 "Its group, by number, when group is null.";
        sopsFile = mkOption {
          type = types.path;
          description = "The encrypted file.";
        };
        sopsFileHash = mkOption {
          type = types.str;
          readOnly = true;
          description = "The hash of the file; units restart when it changes.";
        };
        restartUnits = strings "Units that restart when the secret changes.";
        reloadUnits = strings "Units that reload when the secret changes.";
        neededForUsers = mkOption {
          type = types.bool;
          default = false;
          description = "Whether the secret is opened before the accounts are made.";
        };
      };
      config = {
        sopsFile = lib.mkOptionDefault cfg.defaultSopsFile;
        sopsFileHash = lib.mkOptionDefault (
          lib.optionalString cfg.validateSopsFiles (builtins.hashFile "sha256" config.sopsFile)
        );
      };
    };
  ownerGroup = owner: config.users.users.${owner}.group;

  # A secret whose file is a secret itself could never be opened.
  hostKeys =
    type:
    lib.optionals config.services.openssh.enable (
      map (key: key.path) (
        lib.filter (
          key: key.type == type && !lib.hasPrefix "/run/secrets" key.path
        ) config.services.openssh.hostKeys
      )
    );
in
{
  imports = [
    ./templates.nix
    ./activation.nix
  ];

  options.sops = {
    secrets = mkOption {
      type = types.attrsOf (types.submodule secret);
      default = { };
      description = "The secrets of the host.";
    };
    defaultSopsFile = mkOption {
      type = types.path;
      description = "The file of secrets that name none.";
    };
    defaultSopsFormat = string "yaml" "The format of secrets that name none.";
    defaultSopsKey = nullOr types.str null "The key of secrets that name none.";
    validateSopsFiles = mkOption {
      type = types.bool;
      default = true;
      description = "Whether the files are looked at when the system is built.";
    };
    keepGenerations = mkOption {
      type = types.ints.unsigned;
      default = 1;
      description = "How many sets of opened secrets are kept; 0 for all.";
    };
    useTmpfs = mkOption {
      type = types.bool;
      default = false;
      description = "Whether opened secrets lie in a tmpfs, which may be swapped out.";
    };
    environment = mkOption {
      type = types.attrsOf (types.either types.str types.path);
      default = { };
      description = "Variables of the program that opens the secrets.";
    };
    log = mkOption {
      type = types.listOf (
        types.enum [
          "keyImport"
          "secretChanges"
        ]
      );
      default = [
        "keyImport"
        "secretChanges"
      ];
      description = "What is told.";
    };
    age = {
      keyFile = nullOr types.externalPath null "A file with an age identity.";
      generateKey = mkOption {
        type = types.bool;
        default = false;
        description = "Whether a missing key file is made.";
      };
      sshKeyPaths = mkOption {
        type = types.listOf types.path;
        default = hostKeys "ed25519";
        description = "SSH keys that are identities too.";
      };
    };
    gnupg = {
      home = nullOr types.str null "A folder of GnuPG.";
      sshKeyPaths = mkOption {
        type = types.listOf types.path;
        default = hostKeys "rsa";
        description = "SSH keys that are GnuPG identities too.";
      };
    };
  };

  config = lib.mkIf (cfg.secrets != { }) {
    assertions = [
      {
        assertion =
          cfg.gnupg.home != null
          || cfg.gnupg.sshKeyPaths != [ ]
          || cfg.age.keyFile != null
          || cfg.age.sshKeyPaths != [ ];
        message = "sops has no key to open secrets with: enable services.openssh, or set sops.age.keyFile or sops.gnupg.home.";
      }
      {
        assertion = !(cfg.gnupg.home != null && cfg.gnupg.sshKeyPaths != [ ]);
        message = "Exactly one of sops.gnupg.home and sops.gnupg.sshKeyPaths may be set.";
      }
      {
        assertion = cfg.gnupg.home == null;
        message = "sops.gnupg.home: the miniature sops-nix opens secrets with age identities only.";
      }
    ]
    ++ lib.concatMap (secret: [
      {
        assertion = secret.uid == null || secret.uid == 0 || secret.owner == null;
        message = "sops.secrets.\"${secret.name}\": set either owner or uid.";
      }
      {
        assertion = secret.gid == null || secret.gid == 0 || secret.group == null;
        message = "sops.secrets.\"${secret.name}\": set either group or gid.";
      }
      {
        assertion =
          !secret.neededForUsers
          || builtins.elem secret.owner [ null "root" ] && builtins.elem secret.group [ null "root" ];
        message = "sops.secrets.\"${secret.name}\": neededForUsers secrets belong to root, because no other account exists yet.";
      }
    ]) (lib.attrValues cfg.secrets);
  };
}
