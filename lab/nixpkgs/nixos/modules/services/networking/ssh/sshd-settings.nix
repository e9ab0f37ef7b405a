# The settings of sshd_config: their types, defaults and text.
{ lib }:
let
  inherit (lib) mkOption types;

  atom = types.nullOr (
    types.oneOf [
      types.bool
      types.int
      types.str
      types.path
    ]
  );
  bool =
    default: description:
    mkOption {
      type = types.nullOr types.bool;
      inherit default description;
    };
  word =
    type: default: description:
    mkOption {
      type = types.nullOr type;
      inherit default description;
    };
  # Lists that sshd wants separated by commas.
  commaLists = [
    "Ciphers"
    "HostKeyAlgorithms"
    "KexAlgorithms"
    "Macs"
    "PubkeyAcceptedAlgorithms"
  ];
  words =
    description:
    mkOption {
      type = types.nullOr (types.listOf types.str);
      default = null;
      inherit description;
    };

  valueText =
    name: v:
    if builtins.isBool v then
      lib.boolToYesNo v
    else if builtins.isList v then
      lib.concatMapStringsSep (if builtins.elem name commaLists then "," else " ") toString v
    else
      toString v;
in
{
  type = types.submodule {
    freeformType = types.attrsOf (types.either atom (types.listOf types.str));
    options = {
      LogLevel = word (types.enum [
        "QUIET"
        "FATAL"
        "ERROR"
        "INFO"
        "VERBOSE"
        "DEBUG"
        "DEBUG1"
        "DEBUG2"
        "DEBUG3"
      ]) "INFO" "How much is logged.";
      UsePAM = bool true "Whether PAM has a say.";
      UseDns = bool false "Whether names of clients are looked up.";
      X11Forwarding = bool false "Whether graphical sessions are forwarded.";
      PasswordAuthentication = bool true "Whether passwords open.";
      KbdInteractiveAuthentication = bool true "Whether PAM may ask questions.";
      PermitRootLogin = word (types.enum [
        "yes"
        "without-password"
        "prohibit-password"
        "forced-commands-only"
        "no"
      ]) "prohibit-password" "Whether root may log in.";
      GatewayPorts = word types.str "no" "Whether others may use forwarded ports.";
      StrictModes = bool true "Whether loose permissions of keys are refused.";
      PrintMotd = bool false "Whether sshd prints the message at login.";
      Ciphers = words "Ciphers.";
      KexAlgorithms = words "Key exchanges.";
      Macs = words "Message authentication codes.";
      AllowUsers = words "Users who may log in.";
      DenyUsers = words "Users who may not.";
      AllowGroups = words "Groups that may log in.";
      DenyGroups = words "Groups that may not.";
    };
  };

  toText =
    set:
    lib.concatStrings (
      lib.mapAttrsToList (name: v: "${name} ${valueText name v}\n") (
        lib.filterAttrs (_: v: v != null && v != [ ]) set
      )
    );
}
