# nixpkgs' trivial builders: what scripts and text files in a configuration are made with.
#
# A builder has a static shell and busybox in PATH and nothing else, so that the same derivation
# builds on the operator's machine and on a guest.
{ lib, system, pkgs }:
let
  # Runs a script that makes $out; attributes reach it as environment variables.
  run =
    name: attributes: script:
    let
      path = lib.makeBinPath ([ pkgs.busybox pkgs.bash ] ++ attributes.nativeBuildInputs or [ ]);
    in
    derivation (
      removeAttrs attributes [ "passthru" "meta" "nativeBuildInputs" ]
      // {
        inherit name system script;
        builder = "${pkgs.bash}/bin/bash";
        args = [ "-euc" "export PATH=${path}; source \"$scriptPath\"" ];
        passAsFile = [ "script" ] ++ attributes.passAsFile or [ ];
      }
    )
    // {
      meta = attributes.meta or { };
    }
    // attributes.passthru or { };

  runCommand = name: attributes: script: run name attributes script;

  writeTextFile =
    {
      name,
      text,
      executable ? false,
      destination ? "",
      meta ? { },
    }:
    run name
      {
        inherit text meta;
        passAsFile = [ "text" ];
      }
      ''
        target=$out${lib.escapeShellArg destination}
        mkdir -p "''${target%/*}"
        cp "$textPath" "$target"
        chmod ${if executable then "555" else "444"} "$target"
      '';

  writeText = name: text: writeTextFile { inherit name text; };

  writeScript =
    name: text:
    writeTextFile {
      inherit name text;
      executable = true;
    };

  writeScriptBin =
    name: text:
    writeTextFile {
      inherit name text;
      executable = true;
      destination = "/bin/${name}";
      meta.mainProgram = name;
    };

  shebang = "#!${pkgs.bash}/bin/bash\n";

  writeShellScript = name: text: writeScript name (shebang + text);

  writeShellScriptBin = name: text: writeScriptBin name (shebang + text);

  writeShellApplication =
    {
      name,
      text,
      runtimeInputs ? [ ],
      runtimeEnv ? { },
      ...
    }:
    writeShellScriptBin name ''
      set -o errexit -o nounset -o pipefail
      ${lib.concatStrings (
        lib.mapAttrsToList (variable: value: "export ${variable}=${lib.escapeShellArg (toString value)}\n") runtimeEnv
      )}
      ${lib.optionalString (runtimeInputs != [ ]) ''export PATH="${lib.makeBinPath runtimeInputs}:$PATH"''}
      ${text}
    '';

  # Packages and the libraries they look for in /usr, which is made of the whole.
  withNeeds =
    packages:
    map (item: item.package) (
      builtins.genericClosure {
        startSet = map (package: { key = toString package; inherit package; }) packages;
        operator = item: map (package: { key = toString package; inherit package; }) item.package.needs or [ ];
      }
    );

  # One folder of links to the files of several packages; the first package that has a file wins.
  # Links inside a package are copied as they are: they lead to the right place between merged
  # packages as well, and systemd reads aliases from them.
  symlinkJoin =
    {
      name,
      paths,
      postBuild ? "",
      ...
    }:
    run name
      {
        paths = lib.concatLines (map toString (withNeeds paths));
        passAsFile = [ "paths" ];
      }
      ''
        mkdir -p "$out"
        packages=$(tac "$pathsPath")
        find $packages -type d | sed 's|^/nix/store/[^/]*||; /^$/d' | sort -u | (cd "$out" && sed 's|^/||' | xargs mkdir -p)
        cp -rsf $(printf '%s/. ' $packages) "$out/"
        set -f
        tar -C / -cf - $(find $packages -type l | sed 's|^/||') | tar -xf - --strip-components 3 -C "$out"
        set +f
        ${postBuild}
      '';

  # What a store with just these paths would say of them, for `nix-store --load-db`.
  closureInfo =
    { rootPaths }:
    derivation {
      name = "closure-info";
      inherit system;
      __structuredAttrs = true;
      exportReferencesGraph.closure = map toString rootPaths;
      PATH = lib.makeBinPath [ pkgs.busybox pkgs.image-tools ];
      builder = "${pkgs.bash}/bin/bash";
      args = [
        "-euc"
        ''
          source "$NIX_ATTRS_SH_FILE"
          export PATH
          out=''${outputs[out]}
          mkdir "$out"
          jq -r '.closure[] | [.path, .narHash, .narSize, "", (.references | length)] + .references | .[]' \
            "$NIX_ATTRS_JSON_FILE" > "$out/registration"
          jq -r '.closure[].path' "$NIX_ATTRS_JSON_FILE" > "$out/store-paths"
        ''
      ];
    };
in
{
  inherit
    runCommand
    writeTextFile
    writeText
    writeScript
    writeScriptBin
    writeShellScript
    writeShellScriptBin
    writeShellApplication
    symlinkJoin
    closureInfo
    withNeeds
    ;
  runCommandLocal = runCommand;
  buildEnv = symlinkJoin;
  emptyDirectory = runCommand "empty-directory" { } "mkdir $out";
  runtimeShell = "${pkgs.bash}/bin/bash";
}
