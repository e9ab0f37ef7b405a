# What a configuration asks about the platform it is built for.
lib: rec {
  flakeExposed = [ "x86_64-linux" ];

  # A platform record from its name, or the record itself.
  elaborate =
    platform:
    let
      system = if builtins.isString platform then platform else platform.system;
      parts = lib.splitString "-" system;
      cpu = builtins.elemAt parts 0;
    in
    if !builtins.elem system flakeExposed then
      throw "The miniature nixpkgs has packages for ${lib.concatStringsSep ", " flakeExposed} only, not for `${system}'."
    else
      {
        inherit system;
        config = "${cpu}-unknown-linux-gnu";
        isLinux = true;
        isDarwin = false;
        isx86_64 = true;
        isx86 = true;
        isAarch64 = false;
        isAarch = false;
        is64bit = true;
        isEfi = true;
        linuxArch = cpu;
        efiArch = "x64";
        parsed.cpu.name = cpu;
        parsed.kernel.name = "linux";
      };
}
