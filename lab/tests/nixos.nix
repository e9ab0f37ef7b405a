# NixOS options: what configurations say, and what becomes of it.
{
  lib,
  evalConfig,
  bootable,
  nixpkgs,
  ...
}:
let
  eval = module: (evalConfig [ bootable module ]).config;
  etc = module: file: (eval module).environment.etc.${file}.text;
  toplevel = module: (eval module).system.build.toplevel.drvPath;
  has = text: part: lib.hasInfix part text;
  withGrub = options: {
    boot.loader.systemd-boot.enable = lib.mkForce false;
    boot.loader.grub = {
      device = "/dev/vda";
    }
    // options;
  };
  installer = evalConfig [
    (nixpkgs + "/nixos/modules/installer/cd-dvd/installation-cd-minimal.nix")
    { nixpkgs.hostPlatform = "x86_64-linux"; }
  ];
in
{
  host-name-in-etc = {
    expr = etc { networking.hostName = "guppy"; } "hostname";
    expected = "guppy\n";
  };
  host-name-is-checked = {
    expr = etc { networking.hostName = "guppy.lan"; } "hostname";
    error = "A definition for option `networking.hostName' is not of type";
  };
  no-domain-no-fqdn = {
    expr = (eval { networking.hostName = "guppy"; }).networking.fqdnOrHostName;
    expected = "guppy";
  };
  unknown-option = {
    expr = eval { services.opensshd.enable = true; };
    error = "The option `services.opensshd' does not exist. Definition values: - In `<unknown-file>': { enable = true; }";
  };
  no-platform = {
    expr = (evalConfig [ { system.stateVersion = "26.05"; } ]).pkgs.system;
    error = "Neither nixpkgs.hostPlatform nor the option nixpkgs.system";
  };
  other-platform = {
    expr = (evalConfig [ { nixpkgs.hostPlatform = "aarch64-linux"; } ]).pkgs.system;
    error = "not for `aarch64-linux'";
  };
  overlays = {
    expr = (evalConfig [ bootable { nixpkgs.overlays = [ (_: _: { marker = "from the overlay"; }) ]; } ]).pkgs.marker;
    expected = "from the overlay";
  };
  os-release = {
    expr = map (has (etc { } "os-release")) [
      "ID=\"nixos\"\n"
      "VERSION_ID=\"26.05\"\n"
      "VARIANT_ID"
    ];
    expected = [
      true
      true
      false
    ];
  };
  installer-os-release = {
    expr = has installer.config.environment.etc.os-release.text "VARIANT_ID=\"installer\"\n";
    expected = true;
  };
  installer-trusts-root-alone = {
    expr = {
      inherit (installer.config.nix.settings) trusted-users require-sigs;
    };
    expected = {
      trusted-users = [ "root" ];
      require-sigs = true;
    };
  };

  sshd = {
    expr =
      let
        text = etc {
          services.openssh = {
            enable = true;
            ports = [ 2222 ];
            settings = {
              PasswordAuthentication = false;
              PermitRootLogin = "no";
              AllowUsers = [
                "alice"
                "bob"
              ];
              MaxAuthTries = 3;
            };
            hostKeys = [
              {
                type = "ed25519";
                path = "/persist/key";
              }
            ];
          };
        } "ssh/sshd_config";
      in
      map (has text) [
        "PasswordAuthentication no\n"
        "PermitRootLogin no\n"
        "AllowUsers alice bob\n"
        "MaxAuthTries 3\n"
        "Port 2222\n"
        "HostKey /persist/key\n"
        "AuthorizedKeysFile %h/.ssh/authorized_keys /etc/ssh/authorized_keys.d/%u\n"
        "ssh_host_rsa_key"
      ];
    expected = [
      true
      true
      true
      true
      true
      true
      true
      false
    ];
  };
  sshd-default-host-keys = {
    expr = map (key: key.path) (eval { services.openssh.enable = true; }).services.openssh.hostKeys;
    expected = [
      "/etc/ssh/ssh_host_rsa_key"
      "/etc/ssh/ssh_host_ed25519_key"
    ];
  };
  sshd-setting-is-checked = {
    expr = etc {
      services.openssh.enable = true;
      services.openssh.settings.PermitRootLogin = "never";
    } "ssh/sshd_config";
    error = "A definition for option `services.openssh.settings.PermitRootLogin' is not of type";
  };
  sshd-opens-its-port = {
    expr = (eval { services.openssh.enable = true; }).networking.firewall.allowedTCPPorts;
    expected = [ 22 ];
  };

  users = {
    expr =
      let
        inherit
          (eval {
            users.users.alice = {
              isNormalUser = true;
              extraGroups = [ "wheel" ];
            };
          })
          users
          ;
      in
      {
        inherit (users.users.alice) home group createHome;
        wheel = users.groups.wheel.members;
      };
    expected = {
      home = "/home/alice";
      group = "users";
      createHome = true;
      wheel = [ "alice" ];
    };
  };
  user-of-no-kind = {
    expr = toplevel { users.users.alice.group = "users"; };
    error = "Exactly one of users.users.alice.isSystemUser and users.users.alice.isNormalUser must be set.";
  };
  user-of-unknown-group = {
    expr = toplevel {
      users.users.alice = {
        isNormalUser = true;
        group = "crew";
      };
    };
    error = "users.users.alice.group: the group `crew' is not declared in users.groups.";
  };
  locked-out = {
    expr = toplevel { users.mutableUsers = false; };
    error = "Nobody could log in as an administrator";
  };
  key-lets-in = {
    expr =
      toplevel {
        users.mutableUsers = false;
        users.users.root.openssh.authorizedKeys.keys = [ "ssh-ed25519 AAAA op" ];
      } != "";
    expected = true;
  };

  assertion = {
    expr = toplevel {
      assertions = [
        {
          assertion = false;
          message = "the sky is green";
        }
      ];
    };
    error = "Failed assertions: - the sky is green";
  };
  beyond-the-miniature = {
    expr = toplevel { boot.postBootCommands = "true"; };
    error = "boot.postBootCommands is set in `<unknown-file>', but the miniature nixpkgs cannot do it.";
  };
  no-root-file-system = {
    expr =
      (evalConfig [
        {
          nixpkgs.hostPlatform = "x86_64-linux";
          boot.loader.systemd-boot.enable = true;
          fileSystems."/boot" = {
            device = "/dev/vda1";
            fsType = "vfat";
          };
        }
      ]).config.system.build.toplevel.drvPath;
    error = "fileSystems does not say what is mounted at /";
  };
  no-boot-loader = {
    expr = toplevel { boot.loader.systemd-boot.enable = lib.mkForce false; };
    error = "You must set the option boot.loader.grub.devices";
  };
  grub = {
    expr =
      let
        config = eval (withGrub { devices = [ "/dev/vdb" ]; });
      in
      {
        inherit (config.boot.loader.grub) devices;
        boots = map (boot: removeAttrs boot [ "efiBootloaderId" ]) config.boot.loader.grub.mirroredBoots;
        path = lib.any (package: package.pname or "" == "grub") config.environment.systemPackages;
        script = map (has config.system.build.installBootLoader.text) [
          "devices=('/dev/vdb' '/dev/vda')"
          "devices=(/dev/vdb /dev/vda)"
          "limit=100"
        ];
      };
    expected = {
      devices = [
        "/dev/vdb"
        "/dev/vda"
      ];
      boots = [
        {
          path = "/boot";
          efiSysMountPoint = "/boot";
          devices = [
            "/dev/vdb"
            "/dev/vda"
          ];
        }
      ];
      path = true;
      script = [
        false
        true
        true
      ];
    };
  };
  grub-for-uefi = {
    expr = toplevel (withGrub { efiSupport = true; });
    error = "boot.loader.grub.efiSupport is set in `<unknown-file>', but the miniature nixpkgs cannot do it.";
  };
  grub-beside-the-store = {
    expr =
      (evalConfig [
        (withGrub { })
        {
          nixpkgs.hostPlatform = "x86_64-linux";
          system.stateVersion = "26.05";
          fileSystems."/" = {
            device = "/dev/vda2";
            fsType = "ext4";
          };
        }
      ]).config.system.build.toplevel.drvPath;
    error = "mount a file system there, or set copyKernels.";
  };
  grub-wants-paths = {
    expr = toplevel (withGrub { devices = [ "vdb" ]; });
    error = "GRUB devices must be absolute paths";
  };
  no-esp = {
    expr = toplevel { boot.loader.efi.efiSysMountPoint = "/efi"; };
    error = "boot.loader.systemd-boot needs a file system mounted at /efi.";
  };

  fstab = {
    expr = lib.filter (lib.hasPrefix "/") (
      lib.splitString "\n" (
        etc {
          fileSystems."/home".label = "home disk";
          fileSystems."/home".fsType = "ext4";
          swapDevices = [ { device = "/dev/vda3"; } ];
        } "fstab"
      )
    );
    expected = [
      "/dev/vda2 / ext4 x-initrd.mount 0 1"
      "/dev/vda1 /boot vfat defaults 0 2"
      "/dev/disk/by-label/home\\040disk /home ext4 defaults 0 2"
      "/dev/vda3 none swap defaults"
    ];
  };
  disk-modules-come-from-the-hardware-file = {
    expr = lib.intersectLists [
      "ahci"
      "nvme"
      "sd_mod"
      "virtio_blk"
      "virtio_scsi"
    ] (eval { imports = [ (nixpkgs + "/nixos/modules/profiles/qemu-guest.nix") ]; }).boot.initrd.availableKernelModules;
    expected = [ ];
  };
  facter-report = {
    expr =
      (eval {
        hardware.facter.reportPath = builtins.toFile "facter.json" (
          builtins.toJSON {
            version = 1;
            system = "x86_64-linux";
            hardware.storage_controller = [ { driver_modules = [ "ahci" ]; } ];
          }
        );
      }).boot.initrd.availableKernelModules;
    expected = [
      "atkbd"
      "usbhid"
      "hid_generic"
      "ahci"
    ];
  };
  initrd-secret-in-the-store = {
    expr = toplevel { boot.initrd.secrets."/key" = builtins.toFile "key" "secret"; };
    error = "boot.initrd.secrets names a file in the nix store";
  };
  ssh-in-the-initrd = {
    expr =
      let
        initrd =
          (eval {
            boot.initrd.network.enable = true;
            boot.initrd.network.ssh = {
              enable = true;
              port = 2222;
              hostKeys = [ "/etc/secrets/initrd/key" ];
              authorizedKeys = [ "ssh-ed25519 AAAA me" ];
            };
          }).boot.initrd;
        text = initrd.systemd.contents."/etc/ssh/sshd_config".text;
      in
      [
        initrd.secrets
        (has text "Port 2222\n")
        (has text "HostKey /etc/secrets/initrd/key\n")
        initrd.systemd.contents."/etc/ssh/authorized_keys.d/root".text
        (initrd.systemd.contents ? "/etc/systemd/network/99-ethernet-default-dhcp.network")
      ];
    expected = [
      { "/etc/secrets/initrd/key" = "/etc/secrets/initrd/key"; }
      true
      true
      "ssh-ed25519 AAAA me\n"
      true
    ];
  };
  ssh-in-the-initrd-without-a-key = {
    expr = toplevel {
      boot.initrd.network.enable = true;
      boot.initrd.network.ssh.enable = true;
      boot.initrd.network.ssh.authorizedKeys = [ "ssh-ed25519 AAAA me" ];
    };
    error = "boot.initrd.network.ssh.hostKeys is empty";
  };
  network-commands-in-stage-1 = {
    expr = toplevel { boot.initrd.network.postCommands = "true"; };
    error = "systemd stage 1 does not support 'boot.initrd.network.postCommands'";
  };
  scripted-stage-1 = {
    expr = toplevel { boot.initrd.postResumeCommands = "true"; };
    error = "systemd stage 1 does not support 'boot.initrd.postResumeCommands'";
  };

  nix-conf = {
    expr =
      let
        text = etc {
          nix.settings = {
            experimental-features = [
              "nix-command"
              "flakes"
            ];
            warn-dirty = false;
          };
        } "nix/nix.conf";
      in
      map (has text) [
        "experimental-features = nix-command flakes\n"
        "warn-dirty = false\n"
        "trusted-users = root\n"
        "require-sigs = true\n"
      ];
    expected = [
      true
      true
      true
      true
    ];
  };
  sudo = {
    expr =
      map
        (needs: has (etc { security.sudo.wheelNeedsPassword = needs; } "sudoers") "%wheel  ALL=(ALL:ALL)  SETENV: NOPASSWD: ALL")
        [
          true
          false
        ];
    expected = [
      false
      true
    ];
  };
  service-unit = {
    expr =
      let
        unit =
          (eval {
            systemd.services.hello = {
              description = "Say hello";
              wantedBy = [ "multi-user.target" ];
              after = [ "network.target" ];
              unitConfig.ConditionPathExists = [
                "/a"
                "/b"
              ];
              environment.NAME = "a \"b\"";
              serviceConfig = {
                Type = "oneshot";
                RemainAfterExit = true;
              };
              script = "echo hello";
            };
          }).systemd.units."hello.service";
      in
      [ unit.wantedBy ]
      ++ map (has unit.text) [
        "[Unit]\nAfter=network.target\nConditionPathExists=/a\nConditionPathExists=/b\nDescription=Say hello\n"
        "Environment=\"NAME=a \\\"b\\\"\"\n"
        "RemainAfterExit=true\nType=oneshot\n"
        "ExecStart=/nix/store/"
      ];
    expected = [
      [ "multi-user.target" ]
      true
      true
      true
      true
    ];
  };
  timer-from-start-at = {
    expr =
      (eval {
        systemd.services.clean = {
          script = "true";
          startAt = "daily";
        };
      }).systemd.units."clean.timer".text;
    expected = "[Timer]\nOnCalendar=daily\n\n";
  };
  network = {
    expr =
      let
        etc' =
          (eval {
            networking.useDHCP = false;
            networking.interfaces.eth0.ipv4.addresses = [
              {
                address = "10.0.0.2";
                prefixLength = 24;
              }
            ];
            networking.defaultGateway = "10.0.0.1";
          }).environment.etc;
      in
      etc'."systemd/network/40-eth0.network".text;
    expected = "[Match]\nName=eth0\n\n[Network]\nAddress=10.0.0.2/24\nGateway=10.0.0.1\n\n";
  };
  activation-order = {
    expr =
      let
        script =
          (eval {
            system.activationScripts = {
              first = "echo one";
              second = {
                deps = [ "third" ];
                text = "echo two";
              };
              third = lib.stringAfter [ "first" ] "echo three";
            };
          }).system.activationScripts.script;
      in
      builtins.match ".*echo one.*echo three.*echo two.*" script != null;
    expected = true;
  };
  activation-cycle = {
    expr =
      (eval {
        system.activationScripts = {
          a.deps = [ "b" ];
          b.deps = [ "a" ];
        };
      }).system.activationScripts.script;
    error = "system.activationScripts: a -> b -> a is a cycle.";
  };
}
