# Secrets come from the nix-secrets repo, still encrypted, and are opened on the
# host with its SSH host key: sops.age.sshKeyPaths follows services.openssh.hostKeys.
{ config, inputs, ... }:
{
  imports = [ inputs.sops-nix.nixosModules.sops ];

  sops = {
    defaultSopsFile = "${inputs.nix-secrets}/sops/${config.networking.hostName}.yaml";

    # There is no RSA host key to make a PGP identity of.
    gnupg.sshKeyPaths = [ ];
  };
}
