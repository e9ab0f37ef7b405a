# The `lib` of the miniature nixpkgs: the part that configurations of machines use.
#
# Names and semantics are those of nixpkgs, so that a configuration cannot tell the difference;
# functions that nothing here or in an ordinary configuration calls are left out, and using one
# fails as a missing attribute. `lib.extend` works, because configurations add their own
# functions with it.
let
  trivial = import ./trivial.nix;

  parts = self: {
    trivial = trivial // {
      release = self.fileContents ../.version;
    };
    attrsets = import ./attrsets.nix self;
    lists = import ./lists.nix self;
    strings = import ./strings.nix self;
    customisation = import ./customisation.nix self;
    filesystem = import ./filesystem.nix self;
    options = import ./options.nix self;
    modules = import ./modules.nix self // import ./option-aliases.nix self;
    types = import ./types.nix self;
    generators = import ./generators.nix self;
    systems = import ./systems.nix self;
    asserts = import ./asserts.nix self;
    licenses = import ./licenses.nix;
  };

  flatNames = [
    "trivial"
    "attrsets"
    "lists"
    "strings"
    "customisation"
    "filesystem"
    "options"
    "modules"
    "asserts"
  ];

  build =
    self:
    let
      all = parts self;
    in
    builtins.foldl' (acc: name: acc // all.${name}) { } flatNames
    // all
    // {
      inherit (import ./fixed-points.nix) fix makeExtensible composeExtensions;
    };
in
(import ./fixed-points.nix).makeExtensible build
