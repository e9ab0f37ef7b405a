# The tree behind /etc/static, and the activation that links /etc to it.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  files = lib.filter (file: file.enable) (lib.attrValues config.environment.etc);

  add =
    file:
    let
      target = lib.escapeShellArg file.target;
    in
    ''
      name=$out/etc/${target}
      [ -d "''${name%/*}" ] || mkdir -p "''${name%/*}"
      ln -sfn ${lib.escapeShellArg "${file.source}"} "$name"
    ''
    + lib.optionalString (file.mode != "symlink" && file.mode != "direct-symlink") ''
      printf '%s\t%s\t%s\t%s\n' ${target} ${file.mode} '${lib.removePrefix "+" file.user}' '${lib.removePrefix "+" file.group}' >> $out/copies
    '';
in
{
  system.build.etc = pkgs.runCommand "etc" { } (
    "mkdir -p $out/etc\n: > $out/copies\n" + lib.concatMapStrings add files
  );

  system.activationScripts.etc = {
    deps = [ "users" ];
    text = ''
      ${pkgs.perl}/bin/perl ${./programs/setup-etc.pl} ${config.system.build.etc}
    '';
  };
}
