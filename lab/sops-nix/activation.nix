# Opening the secrets when the system is activated: those that accounts need first, the others
# once there are accounts to own them.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.sops;

  early = lib.filterAttrs (_: secret: secret.neededForUsers) cfg.secrets;
  late = lib.filterAttrs (_: secret: !secret.neededForUsers) cfg.secrets;

  # A file that is not encrypted fails the build, not the boot.
  checked =
    secrets:
    pkgs.runCommand "checked-sops-files" { nativeBuildInputs = [ pkgs.sops ]; } (
      ''
        export HOME=$PWD
        touch $out
      ''
      + lib.concatMapStrings (secret: ''
        if ! sops filestatus --input-type ${secret.format} ${secret.sopsFile} | grep -q '"encrypted":true'; then
          echo "sops.secrets.\"${secret.name}\": ${secret.sopsFile} is not a file that sops encrypted" >&2
          exit 1
        fi
      '') (lib.attrValues secrets)
    );

  path = lib.concatMapStringsSep ":" (
    dir:
    lib.makeSearchPath dir (
      with pkgs;
      [
        coreutils
        diffutils
        findutils
        jq
        sops
        ssh-to-age
        util-linux
      ]
    )
  ) [ "bin" "sbin" ];

  args = lib.escapeShellArgs;
  orElse = default: value: if value == null then default else value;

  secretLine =
    secret:
    # Another file makes another script.
    lib.optionalString (secret.sopsFileHash != "") "# sha256 ${secret.sopsFileHash}\n"
    + "installSecret "
    + args [
      secret.name
      secret.key
      secret.sopsFile
      secret.format
      secret.mode
      (orElse secret.uid secret.owner)
      (orElse secret.gid secret.group)
      secret.path
      (toString secret.restartUnits)
      (toString secret.reloadUnits)
    ]
    + "\n";
  placeholderLine =
    name: secret: "placeholder " + args [ cfg.placeholder.${name} secret.name ] + "\n";
  templateLine =
    template:
    "renderTemplate "
    + args [
      template.name
      template.file
      template.mode
      (orElse 0 template.owner)
      (orElse 0 template.group)
      template.path
      (toString template.restartUnits)
      (toString template.reloadUnits)
    ]
    + "\n";

  installer =
    {
      link,
      secrets,
      templates,
    }:
    pkgs.writeShellScript "sops-install-secrets" ''
      set -euo pipefail
      export PATH=${path} HOME=/var/empty
      ${lib.concatLines (lib.mapAttrsToList (name: value: "export ${name}='${value}'") cfg.environment)}
      link=${link}
      keep=${toString cfg.keepGenerations}
      filesystem=${if cfg.useTmpfs then "tmpfs" else "ramfs"}
      logs=${args [ (toString cfg.log) ]}
      ${lib.optionalString cfg.validateSopsFiles ": ${checked secrets}"}
      . ${./install-secrets.sh}

      begin
      ${lib.concatMapStrings (p: "importSshKey ${args [ p ]}\n") cfg.age.sshKeyPaths}
      ${lib.optionalString (cfg.age.keyFile != null) "importKeyFile ${args [ cfg.age.keyFile ]}"}
      ${lib.concatMapStrings (p: "requireFile ${args [ p ]}\n") cfg.gnupg.sshKeyPaths}
      ${lib.concatMapStrings secretLine (lib.attrValues secrets)}
      ${lib.optionalString (templates != [ ]) (
        lib.concatStrings (lib.mapAttrsToList placeholderLine secrets)
        + lib.concatMapStrings templateLine templates
      )}
      finish
    '';

  generateKey = lib.optional cfg.age.generateKey "generate-age-key";
in
{
  config.system.activationScripts = lib.mkMerge [
    (lib.mkIf (early != { }) {
      setupSecretsForUsers = {
        deps = [ "specialfs" ] ++ generateKey;
        supportsDryActivation = true;
        text = ''
          [ -e /run/current-system ] || echo setting up secrets for users...
          ${
            installer {
              link = "/run/secrets-for-users";
              secrets = early;
              templates = [ ];
            }
          }
        '';
      };
      users.deps = [ "setupSecretsForUsers" ];
    })
    (lib.mkIf (late != { } || cfg.templates != { }) {
      setupSecrets = {
        deps = [
          "specialfs"
          "users"
          "groups"
        ]
        ++ generateKey;
        supportsDryActivation = true;
        text = ''
          [ -e /run/current-system ] || echo setting up secrets...
          ${
            installer {
              link = "/run/secrets";
              secrets = late;
              templates = lib.attrValues cfg.templates;
            }
          }
        '';
      };
    })
    (lib.mkIf cfg.age.generateKey {
      generate-age-key.text = ''
        if ! [ -f ${args [ cfg.age.keyFile ]} ]; then
          echo generating machine-specific age key...
          mkdir -p "$(dirname ${args [ cfg.age.keyFile ]})"
          ${pkgs.age}/bin/age-keygen -o ${args [ cfg.age.keyFile ]}
        fi
      '';
    })
  ];
}
