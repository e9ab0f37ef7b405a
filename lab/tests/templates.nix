# Every option that the templates use is declared here, in the file that declares it in NixOS.
{
  lib,
  evalConfig,
  disko,
  sops,
  nixpkgs,
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
}
