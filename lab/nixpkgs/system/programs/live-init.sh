#!/bin/busybox sh
# Stage 1 of the live system: finds the image, lays a writable layer over its store, starts it.
/bin/busybox --install -s /bin
PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=755 tmpfs /run
system=
for argument in $(cat /proc/cmdline); do
  case $argument in
    init=*) system=${argument#init=} system=${system%/init} ;;
  esac
done

while read -r module; do
  insmod "/modules/$module"
done < /modules/order

# find_image: mounts the medium that holds this image on /iso.
find_image() {
  for device in /dev/sr* /dev/vd* /dev/sd*; do
    [ -b "$device" ] || continue
    mount -t iso9660 -o ro "$device" /iso 2> /dev/null || continue
    [ ! -e "/iso/nix-store.squashfs" ] || return 0
    umount /iso
  done
  return 1
}

# A store that came with the initrd needs no medium (network boot, kexec).
if [ -e /nix-store.squashfs ]; then
  image=/nix-store.squashfs
else
  tries=0
  until find_image; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { echo "the installer's medium was not found"; exec sh; }
    sleep 0.1
  done
  image=/iso/nix-store.squashfs
fi

mount -t tmpfs -o mode=755 tmpfs /system
mkdir -p /system/nix/store /system/nix/.ro-store /system/nix/.rw-store /system/iso
mount -t squashfs -o loop,ro "$image" /system/nix/.ro-store
mount -t tmpfs -o mode=755 tmpfs /system/nix/.rw-store
mkdir -p /system/nix/.rw-store/store /system/nix/.rw-store/work
mount -t overlay -o "lowerdir=/system/nix/.ro-store,upperdir=/system/nix/.rw-store/store,workdir=/system/nix/.rw-store/work" overlay /system/nix/store
[ "$image" = /nix-store.squashfs ] || mount --move /iso /system/iso

# What the system before a kexec hands over: who may log in, how it is known, where it is reached.
if [ -d /handover ]; then
  mkdir -p /system/etc/ssh /run/systemd/network
  mkdir -p -m 700 /system/root /system/root/.ssh
  [ ! -s /handover/ssh/authorized_keys ] || cp /handover/ssh/authorized_keys /system/root/.ssh/
  for key in /handover/ssh/ssh_host_*; do
    [ ! -e "$key" ] || cp -p "$key" /system/etc/ssh/
  done
  for file in /handover/network/*.network; do
    [ ! -e "$file" ] || cp "$file" /run/systemd/network/
  done
fi

mkdir -p /system/dev /system/proc /system/sys /system/run /system/etc
touch /system/etc/NIXOS
for dir in dev proc sys run; do
  mount --move "/$dir" "/system/$dir"
done
chroot /system "$system/prepare-root"
ln -sfn "$system" /system/run/booted-system
# What the image brought counts as valid, as in any store.
chroot /system /usr/bin/nix-store --load-db < /system/nix/store/nix-path-registration
exec switch_root -c /dev/console /system "$system/init"
