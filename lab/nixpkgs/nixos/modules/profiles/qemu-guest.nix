# Modules of virtual devices. Those of virtual disks are left to the hardware configuration, so
# that a machine with the wrong one does not boot.
{
  boot.initrd.availableKernelModules = [
    "virtio_net"
    "virtio_pci"
    "virtio_mmio"
  ];
  boot.initrd.kernelModules = [
    "virtio_balloon"
    "virtio_console"
    "virtio_rng"
  ];
}
