# Builder of the live system's initrd (iso.nix): busybox, a script and the modules for a CD.
mkdir -p root/{bin,dev,proc,sys,run,iso,store,system,modules}
cp "$busybox/bin/busybox" root/bin/
cp "$init" root/init
chmod 755 root/init
tree=$(echo "$kernelModules"/lib/modules/*)
# In the order in which they can be loaded: a module after what it needs.
for name in $modules; do
  line=$(grep "/${name//[-_]/[-_]}\.ko:" "$tree/modules.dep") || continue
  for path in $(tr ' ' '\n' <<< "${line/:/}" | tac); do
    [ -e "root/modules/${path##*/}" ] && continue
    cp "$tree/$path" root/modules/
    echo "${path##*/}" >> root/modules/order
  done
done
mkdir "$out"
find root -print0 | xargs -0 touch -hd @1
(cd root && find . | sort | cpio -o -H newc -R 0:0 --renumber-inodes --ignore-devno) | gzip -n1 > "$out/initrd"
