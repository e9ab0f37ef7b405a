# Strings.
lib:
let
  inherit (builtins) elemAt genList;
in
rec {
  inherit (builtins)
    compareVersions
    concatStringsSep
    fromJSON
    isString
    match
    parseDrvName
    replaceStrings
    split
    storeDir
    stringLength
    substring
    toJSON
    unsafeDiscardStringContext
    ;

  concatStrings = concatStringsSep "";
  concatMapStrings = f: xs: concatStrings (map f xs);
  concatMapStringsSep =
    sep: f: xs:
    concatStringsSep sep (map f xs);
  concatImapStringsSep =
    sep: f: xs:
    concatStringsSep sep (lib.imap1 f xs);
  concatMapAttrsStringSep =
    sep: f: set:
    concatStringsSep sep (lib.mapAttrsToList f set);
  concatLines = concatMapStrings (line: line + "\n");
  intersperse =
    sep: xs:
    lib.drop 1 (lib.concatMap (x: [ sep x ]) xs);
  optionalString = condition: s: if condition then s else "";
  replicateString = n: s: concatStrings (genList (_: s) n);
  join = concatStringsSep;

  hasPrefix = prefix: s: substring 0 (stringLength prefix) s == prefix;
  hasSuffix =
    suffix: s:
    let
      start = stringLength s - stringLength suffix;
    in
    start >= 0 && substring start (-1) s == suffix;
  hasInfix = infix: s: builtins.match ".*${escapeRegex infix}.*" "${s}" != null;
  removePrefix =
    prefix: s: if hasPrefix prefix s then substring (stringLength prefix) (-1) s else s;
  removeSuffix =
    suffix: s: if hasSuffix suffix s then substring 0 (stringLength s - stringLength suffix) s else s;
  stringToCharacters = s: genList (n: substring n 1 s) (stringLength s);
  stringAsChars = f: s: concatStrings (map f (stringToCharacters s));
  splitString =
    sep: s: builtins.filter isString (builtins.split (escapeRegex (toString sep)) (toString s));
  trim = trimWith {
    start = true;
    end = true;
  };
  trimWith =
    {
      start ? false,
      end ? false,
    }:
    s:
    let
      space = "[ \t\r\n]*";
      front = if start then elemAt (builtins.match "${space}(.*)" s) 0 else s;
      back = builtins.match "(.*[^ \t\r\n])${space}" front;
    in
    if !end then
      front
    else if back == null then
      ""
    else
      elemAt back 0;

  upperChars = stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  lowerChars = stringToCharacters "abcdefghijklmnopqrstuvwxyz";
  toLower = replaceStrings upperChars lowerChars;
  toUpper = replaceStrings lowerChars upperChars;
  toSentenceCase = s: toUpper (substring 0 1 s) + toLower (substring 1 (-1) s);

  escape = chars: replaceStrings chars (map (c: "\\${c}") chars);
  escapeRegex = escape (stringToCharacters "\\[{()^$?*+|.");
  escapeNixString = s: escape [ "$" ] (builtins.toJSON s);
  escapeShellArg =
    arg:
    let
      s = toString arg;
    in
    if builtins.match "[[:alnum:],._+:@%/-]+" s != null then
      s
    else
      "'${replaceStrings [ "'" ] [ "'\\''" ] s}'";
  escapeShellArgs = concatMapStringsSep " " escapeShellArg;
  toShellVar =
    name: value:
    if builtins.isList value then
      "declare -a ${name}=(${escapeShellArgs value})"
    else
      "${name}=${escapeShellArg value}";
  toShellVars = vars: concatStringsSep "\n" (lib.mapAttrsToList toShellVar vars);
  # A string as part of a systemd unit name: what `systemd-escape` does.
  escapeSystemdName =
    s:
    let
      escapeChar =
        c:
        if c == "/" then
          "-"
        else if builtins.match "[a-zA-Z0-9:_.]" c != null then
          c
        else
          "\\x" + toLower (lib.toHexString (charCode c));
      printable = stringToCharacters " !\"#$%&'()*+,-";
      charCode =
        c:
        if c == "\\" then
          92
        else
          32 + lib.findFirstIndex (x: x == c) (throw "cannot escape `${c}' in a unit name") printable;
    in
    concatStrings (
      lib.imap0 (n: c: if n == 0 && c == "." then "\\x2e" else escapeChar c) (stringToCharacters s)
    );

  makeSearchPath =
    subDir: pkgs:
    concatStringsSep ":" (map (p: "${p}/${subDir}") (builtins.filter (p: p != null) pkgs));
  makeSearchPathOutput =
    output: subDir: pkgs:
    makeSearchPath subDir (map (lib.getOutput output) pkgs);
  makeBinPath = makeSearchPathOutput "bin" "bin";
  makeLibraryPath = makeSearchPathOutput "lib" "lib";

  getName = x: if isString x then (builtins.parseDrvName x).name else x.pname or (builtins.parseDrvName x.name).name;
  getVersion = x: if isString x then (builtins.parseDrvName x).version else x.version or (builtins.parseDrvName x.name).version;
  versionOlder = a: b: builtins.compareVersions b a == 1;
  versionAtLeast = a: b: !versionOlder a b;
  toInt =
    s:
    let
      digits = builtins.match "[ ]*0*(-?[0-9]+)[ ]*" s;
    in
    if digits == null then throw "Could not convert ${escapeNixString s} to int." else builtins.fromJSON (elemAt digits 0);
  isStorePath =
    x:
    (isString x || builtins.isPath x || x ? outPath)
    && hasPrefix "${builtins.storeDir}/" (toString x)
    && builtins.match "[^/]+" (removePrefix "${builtins.storeDir}/" (toString x)) != null;
  isStringLike = x: isString x || builtins.isPath x || x ? outPath || x ? __toString;
}
