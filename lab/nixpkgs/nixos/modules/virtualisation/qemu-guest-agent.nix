# The agent that a hypervisor talks to.
{ config, lib, ... }:
{
  options.services.qemuGuest.enable = lib.mkEnableOption "the agent of QEMU guests";

  config.assertions = [
    {
      assertion = !config.services.qemuGuest.enable;
      message = "services.qemuGuest: the miniature nixpkgs does not have the agent.";
    }
  ];
}
