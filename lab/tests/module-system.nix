# Types, merging, priorities, order, and what is refused.
{ lib, ... }:
let
  inherit (lib) mkOption types;

  eval = modules: (lib.evalModules { inherit modules; }).config;
  option = type: { options.x = mkOption { inherit type; }; };
  from = file: config: {
    _file = file;
    inherit config;
  };
  # The value of one option of a type, from definitions.
  merged = type: values: (eval ([ (option type) ] ++ map (x: { config = { inherit x; }; }) values)).x;
  of = type: value: merged type [ value ];
  refuses = type: value: description: {
    expr = of type value;
    error = "A definition for option `x' is not of type `${description}'";
  };

  submodule = types.submodule (
    { name, config, ... }:
    {
      options = {
        label = mkOption {
          type = types.str;
          default = "<${name}>";
        };
        port = mkOption { type = types.port; };
        twice = mkOption {
          type = types.int;
          default = 2 * config.port;
        };
      };
    }
  );
in
{
  default = {
    expr =
      (eval [
        {
          options.x = mkOption {
            type = types.int;
            default = 3;
          };
        }
      ]).x;
    expected = 3;
  };
  apply = {
    expr =
      (eval [
        {
          options.x = mkOption {
            type = types.int;
            apply = x: x + 1;
          };
          config.x = 1;
        }
      ]).x;
    expected = 2;
  };
  undefined = {
    expr = (eval [ (option types.int) ]).x;
    error = "The option `x' was accessed but has no value defined. Try setting the option.";
  };
  unknown = {
    expr = eval [
      (option types.int)
      (from "/etc/nixos/a.nix" { y.z = 1; })
    ];
    error = "The option `y' does not exist. Definition values: - In `/etc/nixos/a.nix': { z = 1; }";
  };
  unknown-below = {
    expr = eval [
      { options.a.b.c = mkOption { type = types.int; }; }
      (from "/a.nix" { a.b.d = 1; })
    ];
    error = "The option `a.b.d' does not exist. Definition values: - In `/a.nix': 1";
  };
  unknown-in-submodule = {
    expr =
      (eval [
        (option (types.attrsOf submodule))
        (from "/a.nix" {
          x."a b" = {
            port = 1;
            prot = 2;
          };
        })
      ]).x."a b".twice;
    error = "The option `x.\"a b\".prot' does not exist. Definition values: - In `/a.nix': 2";
  };
  scalar-for-a-set = {
    expr = eval [
      { options.a.b = mkOption { type = types.int; }; }
      (from "/a.nix" { a = 5; })
    ];
    error = "it takes an attribute set, not a value of type `int'";
  };
  declared-twice = {
    expr = eval [
      (option types.int)
      (option types.str)
    ];
    error = "The option `x' in `<unknown-file>' is already declared in";
  };
  read-only = {
    expr =
      (eval [
        {
          options.x = mkOption {
            type = types.int;
            readOnly = true;
          };
        }
        { x = 1; }
        { x = 1; }
      ]).x;
    error = "The option `x' is read-only, but it's set multiple times.";
  };

  bool-refuses-string = refuses types.bool "true" "boolean";
  str-refuses-int = refuses types.str 5 "string";
  int-refuses-string = refuses types.int "5" "signed integer";
  port-refuses-70000 = refuses types.port 70000 "16 bit unsigned integer; between 0 and 65535 (both inclusive)";
  path-refuses-relative = refuses types.path "etc/nixos" "absolute path";
  package-refuses-string = refuses types.package "git" "package";
  enum-refuses = refuses (types.enum [
    "a"
    "b"
  ]) "c" "one of \"a\", \"b\"";
  list-refuses-element = {
    expr = of (types.listOf types.str) [
      "a"
      1
    ];
    error = "A definition for option `x.[definition 1-entry 2]' is not of type `string'";
  };
  attrs-refuses-element = {
    expr = of (types.attrsOf types.int) { a = "b"; };
    error = "A definition for option `x.a' is not of type `signed integer'";
  };
  submodule-refuses-element = {
    expr = (of (types.attrsOf submodule) { ssh.port = "22"; }).ssh.port;
    error = "A definition for option `x.ssh.port' is not of type";
  };
  null-or = {
    expr = map (of (types.nullOr types.int)) [
      null
      1
    ];
    expected = [
      null
      1
    ];
  };
  null-and-value = {
    expr = merged (types.nullOr types.int) [
      null
      1
    ];
    error = "The option `x' is defined both null and not null";
  };
  either = {
    expr = map (of (types.either types.int (types.listOf types.str))) [
      1
      [ "a" ]
    ];
    expected = [
      1
      [ "a" ]
    ];
  };
  coerced = {
    expr = merged (types.coercedTo types.str lib.singleton (types.listOf types.str)) [
      "a"
      [ "b" ]
    ];
    expected = [
      "b"
      "a"
    ];
  };
  lines = {
    expr = merged types.lines [
      "a"
      "b"
    ];
    expected = "b\na";
  };
  anything = {
    expr = merged types.anything [
      {
        a.b = 1;
        c = [ 1 ];
      }
      { a.d = 2; }
    ];
    expected = {
      a = {
        b = 1;
        d = 2;
      };
      c = [ 1 ];
    };
  };
  submodule-values = {
    expr = of (types.attrsOf submodule) { ssh.port = 22; };
    expected.ssh = {
      label = "<ssh>";
      port = 22;
      twice = 44;
    };
  };
  submodule-merges-files = {
    expr = (merged (types.attrsOf submodule) [
      { ssh.port = 22; }
      { ssh.label = "here"; }
    ]).ssh;
    expected = {
      label = "here";
      port = 22;
      twice = 44;
    };
  };
  declarations-merge = {
    expr =
      (eval [
        (option (types.attrsOf submodule))
        (option (
          types.attrsOf (
            types.submodule {
              options.more = mkOption {
                type = types.bool;
                default = true;
              };
            }
          )
        ))
        { x.a.port = 1; }
      ]).x.a;
    expected = {
      label = "<a>";
      port = 1;
      twice = 2;
      more = true;
    };
  };
  freeform = {
    expr =
      (eval [
        {
          freeformType = types.attrsOf (types.attrsOf types.int);
          options.a.b = mkOption { type = types.str; };
        }
        {
          a.b = "declared";
          c.d = 1;
        }
        { c.e = lib.mkIf true 2; }
      ]);
    expected = {
      a.b = "declared";
      c = {
        d = 1;
        e = 2;
      };
    };
  };
  freeform-checks = {
    expr =
      (eval [
        { freeformType = types.attrsOf types.int; }
        { c = "no"; }
      ]).c;
    error = "A definition for option `c' is not of type `signed integer'";
  };

  conflict = {
    expr =
      (eval [
        (option types.str)
        (from "/a.nix" { x = "a"; })
        (from "/b.nix" { x = "b"; })
      ]).x;
    error = "The option `x' has conflicting definition values: - In `/b.nix': \"b\" - In `/a.nix': \"a\" Use `lib.mkForce value` or `lib.mkDefault value`";
  };
  equal-is-no-conflict = {
    expr = merged types.str [
      "a"
      "a"
    ];
    expected = "a";
  };
  force-beats-plain-beats-default = {
    expr =
      map (merged types.int) [
        [
          1
          (lib.mkDefault 2)
        ]
        [
          (lib.mkForce 3)
          1
        ]
        [
          (lib.mkOverride 10 4)
          (lib.mkForce 5)
        ]
      ];
    expected = [
      1
      3
      4
    ];
  };
  two-defaults-conflict = {
    expr = merged types.int [
      (lib.mkDefault 1)
      (lib.mkDefault 2)
    ];
    error = "The option `x' has conflicting definition values";
  };
  order = {
    expr = merged (types.listOf types.str) [
      (lib.mkAfter [ "z" ])
      [ "m" ]
      (lib.mkBefore [ "a" ])
    ];
    expected = [
      "a"
      "m"
      "z"
    ];
  };
  conditions = {
    expr = merged (types.listOf types.int) [
      (lib.mkIf false [ 1 ])
      (lib.mkMerge [
        [ 2 ]
        (lib.mkIf true [ 3 ])
      ])
    ];
    expected = [
      2
      3
    ];
  };
  condition-around-sets = {
    expr =
      (eval [
        {
          options.a = lib.genAttrs [ "b" "c" ] (
            _:
            mkOption {
              type = types.int;
              default = 0;
            }
          );
        }
        (
          { config, ... }:
          {
            # Depends on its own target's sibling: conditions are not looked into too early.
            config = lib.mkIf (config.a.c == 1) { a.b = 5; };
          }
        )
        { a = lib.mkForce { c = 1; }; }
      ]).a;
    expected = {
      b = 5;
      c = 1;
    };
  };
  condition-must-be-boolean = {
    expr = merged types.int [ (lib.mkIf "yes" 1) ];
    error = "A condition of `mkIf' in `<unknown-file>' is of type string, not a boolean.";
  };

  module-arguments = {
    expr =
      (lib.evalModules {
        specialArgs.fromOutside = 1;
        modules = [
          (option (types.listOf types.int))
          (
            { fromOutside, fromModule, ... }:
            {
              x = [
                fromOutside
                fromModule
              ];
            }
          )
          { _module.args.fromModule = 2; }
        ];
      }).config.x;
    expected = [
      1
      2
    ];
  };
  imported-once = {
    expr =
      (eval [
        {
          key = "same";
          x = [ 1 ];
        }
        {
          key = "same";
          x = [ 1 ];
        }
        (option (types.listOf types.int))
      ]).x;
    expected = [ 1 ];
  };
  disabled-modules = {
    expr =
      (eval [
        (option (types.listOf types.int))
        {
          key = "unwanted";
          x = [ 1 ];
        }
        {
          disabledModules = [ { key = "unwanted"; } ];
          x = [ 2 ];
        }
      ]).x;
    expected = [ 2 ];
  };
  stray-attribute = {
    expr = eval [
      {
        _file = "/a.nix";
        options = { };
        services = { };
      }
    ];
    error = "Module `/a.nix' has an unsupported attribute `services'";
  };
  flake-is-no-module = {
    expr = eval [
      {
        _type = "flake";
        outPath = "/nowhere";
      }
    ];
    error = "Expected a module, but found a value of type \"flake\"";
  };
  renamed-option = {
    expr =
      (eval [
        {
          options.new.name = mkOption { type = types.int; };
          options.warnings = mkOption { type = types.listOf types.str; };
        }
        (lib.mkRenamedOptionModule
          [ "old" "name" ]
          [
            "new"
            "name"
          ]
        )
        (from "/a.nix" { old.name = 7; })
      ]);
    expected = {
      new.name = 7;
      old.name = 7;
      warnings = [
        "The option `old.name' defined in `/a.nix' has been renamed to `new.name'."
      ];
    };
  };
  where-it-is-defined = {
    expr =
      (lib.evalModules {
        modules = [
          (option types.int)
          (from "/a.nix" { x = lib.mkDefault 1; })
          (from "/b.nix" { x = 2; })
        ];
      }).options.x.definitionsWithLocations;
    expected = [
      {
        file = "/b.nix";
        value = 2;
      }
    ];
  };
  extend-modules = {
    expr =
      ((lib.evalModules {
        modules = [
          (option types.int)
          { x = lib.mkDefault 1; }
        ];
      }).extendModules
        { modules = [ { x = 2; } ]; }
      ).config.x;
    expected = 2;
  };
}
