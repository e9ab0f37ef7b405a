# Text formats from Nix values.
lib: rec {
  # A value as Nix would write it, short enough for an error message.
  toPretty =
    {
      multiline ? true,
      depth ? 4,
      ...
    }:
    value:
    let
      go =
        left: indent: v:
        let
          inner = indent + (if multiline then "  " else "");
          newline = if multiline then "\n" else " ";
          block =
            open: close: items:
            if items == [ ] then
              "${open} ${close}"
            else
              open + newline + lib.concatMapStringsSep newline (i: inner + i) items + newline + indent + close;
        in
        if builtins.isString v then
          builtins.toJSON (builtins.unsafeDiscardStringContext v)
        else if builtins.isPath v then
          toString v
        else if builtins.isBool v then
          lib.boolToString v
        else if v == null then
          "null"
        else if builtins.isFunction v then
          "<function>"
        else if lib.isDerivation v then
          "<derivation ${v.name or "?"}>"
        else if left == 0 then
          "<…>"
        else if builtins.isList v then
          block "[" "]" (map (go (left - 1) inner) v)
        else if builtins.isAttrs v then
          block "{" "}" (
            lib.mapAttrsToList (name: x: "${lib.showOption [ name ]} = ${go (left - 1) inner x};") v
          )
        else
          toString v;
    in
    go depth "" value;

  mkValueStringDefault =
    _: v:
    if builtins.isBool v then
      lib.boolToString v
    else if v == null then
      "null"
    else if builtins.isAttrs v && !(v ? outPath) || builtins.isList v || builtins.isFunction v then
      throw "generators.mkValueStringDefault: this value is not supported: ${toPretty { } v}"
    else
      toString v;

  mkKeyValueDefault =
    {
      mkValueString ? mkValueStringDefault { },
    }:
    sep: key: value:
    "${lib.escape [ sep ] key}${sep}${mkValueString value}";

  toKeyValue =
    {
      mkKeyValue ? mkKeyValueDefault { } "=",
      listsAsDuplicateKeys ? false,
      indent ? "",
    }:
    set:
    lib.concatLines (
      lib.concatLists (
        lib.mapAttrsToList (
          key: value:
          map (v: indent + mkKeyValue key v) (
            if listsAsDuplicateKeys && builtins.isList value then value else [ value ]
          )
        ) set
      )
    );

  toINI =
    {
      mkSectionName ? (name: lib.escape [ "[" "]" ] name),
      mkKeyValue ? mkKeyValueDefault { } "=",
      listsAsDuplicateKeys ? false,
    }:
    sections:
    lib.concatStringsSep "\n" (
      lib.mapAttrsToList (
        name: values: "[${mkSectionName name}]\n" + toKeyValue { inherit mkKeyValue listsAsDuplicateKeys; } values
      ) sections
    );

  # git's own flavour of INI, one level of subsections.
  toGitINI =
    settings:
    let
      leaf =
        value:
        if builtins.isBool value || builtins.isInt value then
          mkValueStringDefault { } value
        else
          builtins.toJSON (toString value);
      section =
        title: values:
        "[${title}]\n"
        + lib.concatStrings (
          lib.mapAttrsToList (
            key: v: lib.concatMapStrings (x: "\t${key} = ${leaf x}\n") (lib.toList v)
          ) values
        );
      plain = lib.filterAttrs (_: v: !builtins.isAttrs v);
      nested = lib.filterAttrs (_: v: builtins.isAttrs v);
    in
    lib.concatStringsSep "\n" (
      lib.concatLists (
        lib.mapAttrsToList (
          name: values:
          lib.optional (plain values != { }) (section name (plain values))
          ++ lib.mapAttrsToList (sub: v: section ''${name} "${sub}"'' v) (nested values)
        ) settings
      )
    );

  toJSON = _: builtins.toJSON;
  toYAML = _: builtins.toJSON;
}
