# The text of systemd units from their options.
{ lib }:
let
  unitOptions = import ./systemd-unit-options.nix { inherit lib; };

  toValue = v: if v == true then "true" else if v == false then "false" else toString v;

  # A section; a list repeats its key.
  sectionText =
    title: values:
    let
      set = lib.filterAttrs (_: v: v != null) values;
      line = key: v: "${key}=${toValue v}\n";
    in
    lib.optionalString (set != { }) (
      "[${title}]\n"
      + lib.concatStrings (
        lib.concatLists (lib.mapAttrsToList (key: v: map (line key) (lib.toList v)) set)
      )
      + "\n"
    );

  relationKey =
    name:
    {
      onFailure = "OnFailure";
      onSuccess = "OnSuccess";
      bindsTo = "BindsTo";
      partOf = "PartOf";
    }
    .${name} or (lib.toSentenceCase name);

  # What every unit says about itself in [Unit].
  unitSection =
    unit:
    let
      joined =
        name:
        lib.optionalAttrs (unit.${name} != [ ]) {
          ${relationKey name} = lib.concatStringsSep " " unit.${name};
        };
      hash =
        values:
        builtins.hashString "sha256" (
          builtins.unsafeDiscardStringContext (lib.concatMapStringsSep "\n" toString values)
        );
    in
    lib.mergeAttrsList (map joined unitOptions.relations)
    // lib.optionalAttrs (unit.description != "") { Description = unit.description; }
    // lib.optionalAttrs (unit.documentation != [ ]) { Documentation = toString unit.documentation; }
    // lib.optionalAttrs (unit.startLimitBurst != null) { StartLimitBurst = unit.startLimitBurst; }
    // lib.optionalAttrs (unit.startLimitIntervalSec != null) { StartLimitIntervalSec = unit.startLimitIntervalSec; }
    // lib.optionalAttrs (unit.restartTriggers != [ ]) { X-Restart-Triggers = hash unit.restartTriggers; }
    // lib.optionalAttrs (unit.reloadTriggers != [ ]) { X-Reload-Triggers = hash unit.reloadTriggers; }
    // unit.unitConfig;

  # A unit as the part of `systemd.units` that it becomes.
  toUnit = unit: text: {
    inherit (unit)
      enable
      overrideStrategy
      aliases
      wantedBy
      requiredBy
      upheldBy
      ;
    inherit text;
  };

  escapeEnvironment = v: lib.escape [ "\"" "\\" ] (toString v);

  # `writeProgram name text` makes the programs of `script` and its like; they are listed with
  # `scriptsOf`, because the initrd has to carry them.
  programName =
    name: step: "unit-script-${lib.replaceStrings [ "@" "\\" ] [ "-" "-" ] name}-${step}";
  steps = {
    ExecStart = {
      option = "script";
      step = "start";
    };
    ExecStartPre = {
      option = "preStart";
      step = "pre-start";
    };
    ExecStartPost = {
      option = "postStart";
      step = "post-start";
    };
    ExecReload = {
      option = "reload";
      step = "reload";
    };
    ExecStop = {
      option = "preStop";
      step = "pre-stop";
    };
    ExecStopPost = {
      option = "postStop";
      step = "post-stop";
    };
  };
  programsOf =
    writeProgram: name: unit:
    lib.mapAttrs (_: s: writeProgram (programName name s.step) unit.${s.option}) (
      lib.filterAttrs (_: s: unit.${s.option} != "") steps
    );

  serviceSection =
    writeProgram: name: unit:
    {
      Environment = lib.mapAttrsToList (n: v: ''"${n}=${escapeEnvironment v}"'') (
        lib.filterAttrs (_: v: v != null) unit.environment
      );
    }
    // lib.mapAttrs (
      key: program:
      toString program + lib.optionalString (key == "ExecStart" && unit.scriptArgs != "") " ${unit.scriptArgs}"
    ) (programsOf writeProgram name unit)
    // lib.optionalAttrs (!unit.restartIfChanged) { X-RestartIfChanged = false; }
    // lib.optionalAttrs unit.reloadIfChanged { X-ReloadIfChanged = true; }
    // lib.optionalAttrs (!unit.stopIfChanged) { X-StopIfChanged = false; }
    // unit.serviceConfig;

  plain =
    kind: sections: _: unit:
    toUnit unit (
      sectionText "Unit" (unitSection unit) + lib.optionalString (kind != null) (sectionText kind (sections unit))
    );
in
{
  inherit sectionText unitOptions;

  # The programs that a service was given as text.
  scriptsOf = writeProgram: name: unit: lib.attrValues (programsOf writeProgram name unit);

  serviceToUnit =
    writeProgram: name: unit:
    toUnit unit (
      sectionText "Unit" (unitSection unit)
      + sectionText "Service" (serviceSection writeProgram name unit)
    );
  targetToUnit = plain null null;
  socketToUnit = plain "Socket" (
    u:
    {
      ListenStream = u.listenStreams;
      ListenDatagram = u.listenDatagrams;
    }
    // u.socketConfig
  );
  timerToUnit = plain "Timer" (u: u.timerConfig);
  pathToUnit = plain "Path" (u: u.pathConfig);
  sliceToUnit = plain "Slice" (u: u.sliceConfig);
  mountToUnit = plain "Mount" (
    u:
    {
      What = u.what;
      Where = u.where;
    }
    // lib.optionalAttrs (u.type != "") { Type = u.type; }
    // lib.optionalAttrs (u.options != "") { Options = u.options; }
    // u.mountConfig
  );
  automountToUnit = plain "Automount" (u: { Where = u.where; } // u.automountConfig);
}
