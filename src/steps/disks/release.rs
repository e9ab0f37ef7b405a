//! Before the disks are erased: what an earlier run mounted from them is let go of, what is
//! stacked on them (md, lvm, dm-crypt, zpools) is taken apart, and old signatures go from
//! their partitions.
//!
//! A new layout that puts its partitions where the old ones were would else find a
//! volume or an array of the machine's former life. Nothing on another disk is touched:
//! that nothing reaches there was checked just before.

use std::time::Duration;

use crate::error::StepError;
use crate::exec::ExecError;
use crate::steps::context::Context;
use crate::target::disks::Matched;

const DEADLINE: Duration = Duration::from_secs(10 * 60);

/// Lets go of what an earlier run of landfall mounted below /mnt. Arguments: LUKS volumes.
///
/// That run may have been killed: its disko is waited for by nobody, and its copy goes on,
/// with files of the new store open. The disks are to be erased, so that copy is ended;
/// what else works there, such as a person's shell, is named and left to them.
const RELEASE: &str = r#"
exec 9> /run/landfall-disko.lock
flock -n 9 || { echo "the disko of an earlier run is still at work" >&2; exit 1; }
users() {
  find /proc/[0-9]*/cwd /proc/[0-9]*/root /proc/[0-9]*/exe /proc/[0-9]*/fd \
    \( -lname /mnt -o -lname "/mnt/*" \) 2>/dev/null | cut -d/ -f3 | sort -un |
    while read -r pid; do
      # In a namespace of its own, /mnt is something else.
      [ "$(readlink "/proc/$pid/ns/mnt")" = "$(readlink /proc/self/ns/mnt)" ] &&
        echo "$pid $(cat "/proc/$pid/comm")"
    done
}
copies() { users | while read -r pid name; do case $name in nix*) echo "$pid" ;; esac; done; }
mounted() { findmnt --mountpoint /mnt >/dev/null; }
if mounted; then
  for signal in TERM TERM TERM KILL; do
    pids=$(copies)
    [ -n "$pids" ] || break
    kill -s "$signal" $pids 2>/dev/null
    sleep 1
  done
  umount -R /mnt
fi
if ! mounted; then
  for name in "$@"; do cryptsetup close "$name" 2>/dev/null; done
  exit 0
fi
users | while read -r pid name; do echo "process $pid, $name, is at work below /mnt" >&2; done
exit 1
"#;

/// Takes apart what lies on the disks `$@`, topmost first, until nothing does.
///
/// An array or a volume may turn up only when what hid it is gone, and udev may put one
/// together again while another is taken apart: so there are several rounds. mdadm drops
/// what stands behind `--`.
const TAKE_APART: &str = r#"
set -u
has() { command -v "$1" >/dev/null 2>&1; }
tree() { lsblk --noheadings --raw --paths --output NAME,TYPE "$@" | tac | awk '!seen[$1]++'; }
close_one() {
  name=$1 kind=$2
  findmnt --noheadings --raw --output TARGET --source "$name" | tac | while read -r target; do
    umount -- "$(printf '%b' "$target")"
  done
  swapoff -- "$name" 2>/dev/null
  case $kind in
    disk | part) ;;
    crypt) wipefs --all --quiet --force -- "$name"; cryptsetup close -- "$name" ;;
    raid*) wipefs --all --quiet --force -- "$name"; mdadm --stop --quiet "$name" ;;
    lvm) wipefs --all --quiet --force -- "$name"; lvchange --activate n --yes -- "$name" >/dev/null 2>&1 || dmsetup remove --retry -- "$name" ;;
    *) wipefs --all --quiet --force -- "$name"; dmsetup remove --retry -- "$name" ;;
  esac
}
if has zpool; then
  tree "$@" | while read -r name kind; do
    pool=$(blkid --probe --match-token TYPE=zfs_member --match-tag LABEL --output value "$name" 2>/dev/null)
    [ -z "$pool" ] || zpool export -f -- "$pool" 2>/dev/null
  done
fi
round=0
while [ $round -lt 5 ]; do
  round=$((round + 1))
  if has vgchange; then
    tree "$@" | while read -r name kind; do
      group=$(pvs --noheadings --options vg_name -- "$name" 2>/dev/null | tr -d ' ')
      [ -z "$group" ] || vgchange --activate n -- "$group" >/dev/null 2>&1
    done
  fi
  tree "$@" | while read -r name kind; do close_one "$name" "$kind"; done
  tree "$@" | while read -r name kind; do
    case $kind in
      part)
        has mdadm && mdadm --zero-superblock --force --quiet "$name" 2>/dev/null
        wipefs --all --quiet --force -- "$name" ;;
      disk)
        has mdadm && mdadm --zero-superblock --force --quiet "$name" 2>/dev/null ;;
    esac
  done
  udevadm settle --timeout 30 2>/dev/null
  left=$(tree "$@" | awk '$2 != "disk" && $2 != "part"')
  [ -n "$left" ] || exit 0
done
echo "still in use: $left" >&2
exit 1
"#;

/// Lets go of disks that an earlier run mounted.
pub(crate) fn release(cx: &Context) -> Result<(), StepError> {
    let volumes: Vec<&str> =
        cx.facts()?.first().luks().map(|volume| volume.name.as_str()).collect();
    let released = cx.target()?.session.root_script(RELEASE, &volumes).deadline(DEADLINE).run();
    released.map(drop).map_err(|error| held(error, "what an earlier run mounted is still in use"))
}

/// Takes apart what lies on the disks of the layout, which are about to be erased.
pub(crate) fn run(cx: &Context, matched: &[Matched]) -> Result<(), StepError> {
    let paths: Vec<&str> = matched.iter().map(|matched| matched.disk.path.as_str()).collect();
    let apart = cx.target()?.session.root_script(TAKE_APART, &paths).deadline(DEADLINE).run();
    apart.map(drop).map_err(|error| held(error, "what lies on the disks could not be taken apart"))
}

fn held(error: ExecError, what: &str) -> StepError {
    let mut error = StepError::from(error).doing(what);
    error.hint = "Look with lsblk on the target what holds it, end that, then run the same \
                  command again."
        .into();
    error
}
