# Makes the kernel and udev notice new partitions.
announcePartitions() {
  partprobe "$1" || true
  udevadm trigger --subsystem-match=block
  udevadm settle --timeout 120
}

# Waits until udev has made the link to a partition.
waitFor() {
  local tries=0
  until [ -b "$1" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 60 ]; then
      echo "disko: $1 did not appear within 60 seconds" >&2
      exit 1
    fi
    udevadm settle --timeout 10 || true
    sleep 1
  done
}

# Asks for a passphrase into $password; `twice` to be safe before it is set.
askPassphrase() {
  local again
  while true; do
    IFS= read -r -s -p "Enter password for $1: " password
    echo
    [ "${2:-}" = twice ] || return 0
    IFS= read -r -s -p "Enter password for $1 again to be safe: " again
    echo
    [ "$password" != "$again" ] || return 0
    echo "The two differ: try again."
  done
}

# Takes a device and all that is stacked on it out of use, the topmost first, and removes every
# signature.
wipeDisk() {
  local device name kind
  device=$(readlink -f "$1")
  if ! [ -b "$device" ]; then
    echo "disko: $1 is not a block device" >&2
    exit 1
  fi
  lsblk --noheadings --raw --paths --output NAME,TYPE "$device" | tac | while read -r name kind; do
    findmnt --noheadings --raw --output TARGET --source "$name" | tac | while read -r target; do
      umount -v "$target"
    done
    swapoff "$name" 2> /dev/null || true
    wipefs --all --force "$name"
    if [ "$kind" = crypt ]; then
      cryptsetup close "$name"
    fi
  done
  sgdisk --zap-all "$device" > /dev/null
  announcePartitions "$device"
}

# Asks before anything is destroyed, unless the caller did so already.
confirmWipe() {
  local devices=$1 argument answer
  shift
  for argument in "$@"; do
    case $argument in
      --yes-wipe-all-disks) return 0 ;;
      *)
        echo "disko: unknown argument $argument; the only one is --yes-wipe-all-disks" >&2
        exit 1
        ;;
    esac
  done
  lsblk --output NAME,SIZE,TYPE,MOUNTPOINTS $devices >&2 || true
  echo "Everything on these disks will be destroyed: $devices" >&2
  echo "To be asked no more, pass --yes-wipe-all-disks." >&2
  answer=
  IFS= read -r -p "Type yes to go on: " answer || true
  if [ "$answer" != yes ]; then
    echo "disko: nothing was changed" >&2
    exit 1
  fi
}
