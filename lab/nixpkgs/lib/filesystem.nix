# Reading the tree that a configuration lives in.
lib: rec {
  pathExists = builtins.pathExists;
  pathIsDirectory = path: builtins.pathExists path && builtins.readFileType path == "directory";
  pathIsRegularFile = path: builtins.pathExists path && builtins.readFileType path == "regular";

  # Every file below a folder, as paths.
  listFilesRecursive =
    dir:
    lib.concatLists (
      lib.mapAttrsToList (
        name: type:
        if type == "directory" then listFilesRecursive (dir + "/${name}") else [ (dir + "/${name}") ]
      ) (builtins.readDir dir)
    );

  # What was written to a file without its last newline.
  fileContents = path: lib.removeSuffix "\n" (builtins.readFile path);

  # A source tree without what version control and editors leave in it.
  cleanSource =
    src:
    builtins.filterSource (
      path: type:
      let
        name = baseNameOf path;
      in
      !(
        name == ".git"
        || lib.hasSuffix "~" name
        || (type == "symlink" && lib.hasPrefix "result" name)
      )
    ) src;
}
