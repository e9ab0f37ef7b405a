# In the initrd, when everything that is needed for boot is mounted on /sysroot: activates the
# system that the kernel's command line names, so that its systemd finds /usr and /etc.
set -eu

system=
for argument in $(cat /proc/cmdline); do
  case $argument in
    init=*) system=${argument#init=} system=${system%/init} ;;
  esac
done
if [ -z "$system" ]; then
  echo "no init= on the kernel's command line: no system to start" >&2
  exit 1
fi

for dir in dev proc sys run; do
  mkdir -p "/sysroot/$dir"
  mount --rbind "/$dir" "/sysroot/$dir"
done
chroot /sysroot "$system/prepare-root" ||
  echo "activation of $system was not complete" >&2
ln -sfn "$system" /run/booted-system
