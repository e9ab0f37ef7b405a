{
  description = "Secrets, encrypted with sops for the people and hosts in .sops.yaml";

  # nix-config refers to the files below sops/ by path, so there is nothing to
  # put out. Values that are private without being secret, say an email address,
  # can stand here as plain Nix: whoever reads a host's store can read them.
  outputs = _: { };
}
