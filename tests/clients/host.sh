#!/bin/bash
# A host of its own, for tests that install things, run container engines and change /etc: mount and pid namespaces in which
# every change to the file system goes to DIR (an overlay over the real root). Run by tests/src/host.rs in new namespaces.
# host.sh DIR SHARED..: the directories SHARED are the real ones.
set -euo pipefail
dir=$1
shift
root=$dir/root
mkdir "$dir"/{upper,work,root,disk}
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
# On the disk itself: docker and podman make overlays of their own there, and one overlay does not carry another.
for name in docker containerd containers lxc hoodydb; do
    rm -rf "$root/var/lib/$name"
    mkdir -p "$dir/disk/$name" "$root/var/lib/$name"
    mount --bind "$dir/disk/$name" "$root/var/lib/$name"
done
for shared in "$@"; do
    mkdir -p "$root$shared"
    mount --rbind "$shared" "$root$shared"
done
# What another installation on the real host has set up is not there.
rm -rf "$root/hoody" "$root/etc/docker" "$root/etc/containers/containers.conf.d" "$root/etc/init.d/hoodydb"
mkdir "$root/old"
pivot_root "$root" "$root/old"
cd /
umount -l /old
rmdir /old
ln -sfn /proc/self/mounts /etc/mtab
echo ready
# Takes in the orphans, as a host's first process does.
exec docker-init -- sleep infinity
