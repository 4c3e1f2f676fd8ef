#!/bin/bash
# The guest's first process: builds its file system and continues as guest_command.sh. The machine's
# root is mounted read-only at /; `vm_directory` on the kernel's command line is the
# directory of this run.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

mount -t proc proc /proc
directory=$(tr ' ' '\n' </proc/cmdline | sed -n 's/^vm_directory=//p')

# A file system in memory above the machine's.
mount -t tmpfs -o size=90%,mode=755 tmpfs /mnt
mkdir /mnt/{written,work,root}
mount -t overlay -o lowerdir=/,upperdir=/mnt/written,workdir=/mnt/work overlay /mnt/root
cd /mnt/root || exit

mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t devtmpfs devtmpfs dev
mkdir -p dev/pts dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -sfn /proc/self/fd dev/fd
ln -sf /proc/self/fd/0 dev/stdin
ln -sf /proc/self/fd/1 dev/stdout
ln -sf /proc/self/fd/2 dev/stderr
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p run/lock run/netns run/vm
mount -t hostfs -o "$directory" hostfs run/vm

mkdir -p old
pivot_root . old
cd /
umount -l /old
rmdir /old

for line in 0 1 2; do stty -F "/dev/ttyS$line" raw -echo; done
cat /run/vm/hostname >/proc/sys/kernel/hostname
ip link set lo up
exec /bin/bash /run/vm/guest_command.sh
