# The activation scripts: what makes a running system out of a configuration, in order.
{ lib, utils, ... }:
let
  inherit (lib) mkOption types;
  inherit (utils.options) bool lines strings;

  snippet = types.submodule {
    options = {
      text = lines "Shell commands.";
      deps = strings [ ] "Snippets that run before.";
      supportsDryActivation = bool false "Whether it runs, changing nothing, in a dry activation.";
    };
  };
  scripts = types.attrsOf (types.coercedTo types.str (text: { inherit text; }) snippet);

  # Each snippet after those it depends on, otherwise by name.
  ordered =
    set:
    let
      missing =
        name: dep: throw "system.activationScripts.${name} depends on `${dep}', which does not exist.";
      visit =
        seen: done: name:
        if builtins.elem name done then
          done
        else if builtins.elem name seen then
          throw "system.activationScripts: ${lib.concatStringsSep " -> " (seen ++ [ name ])} is a cycle."
        else
          lib.foldl' (
            acc: dep: if set ? ${dep} then visit (seen ++ [ name ]) acc dep else missing name dep
          ) done set.${name}.deps
          ++ [ name ];
    in
    lib.foldl' (visit [ ]) [ ] (lib.attrNames set);

  # A failing snippet is reported and the others still run, as in NixOS.
  snippetText = set: name: ''
    #### Activation script snippet ${name}:
    _localstatus=0
    ${set.${name}.text}

    if (( _localstatus > 0 )); then
      printf "Activation script snippet '%s' failed (%s)\n" "${name}" "$_localstatus"
    fi
  '';
  scriptOf = set: ''
    systemConfig='@out@'
    _status=0
    trap "_status=1 _localstatus=\$?" ERR
    umask 0022

    ${lib.concatMapStrings (snippetText set) (ordered set)}
    exit "$_status"
  '';
in
{
  options.system.activationScripts = mkOption {
    type = scripts;
    default = { };
    description = "Shell commands that run when the system is activated; `script` is all of them.";
    apply = set: set // { script = scriptOf set; };
  };

  # Anchors for others to depend on; the system's builder fills them in.
  config.system.activationScripts = lib.genAttrs [
    "specialfs"
    "var"
    "etc"
    "users"
    "groups"
    "usrbinenv"
  ] (_: "");
}
