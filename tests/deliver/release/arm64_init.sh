#!/busybox sh
# The first process of the machine of arm64_test.ts, whose files are those of the image for arm64. It
# runs a datastore and a daemon, shows what they have made, and turns the machine off.
export PATH=/applets:/opt/bin:/usr/sbin:/usr/bin:/sbin:/bin
/busybox mkdir -p /applets /proc /sys /dev /run /tmp
/busybox --install -s /applets

main() {
  mount_all
  load_modules
  connect
  show version flanneld --version
  show iptables iptables --version
  show nft nft --version
  start_datastore
  start_daemon
  show subnet cat /run/flannel/subnet.env
  show device ip address show dev flannel.1
  show device-v6 ip address show dev flannel-v6.1
  show rules iptables-save -t nat
  show rules-v6 ip6tables-save -t nat
  echo "== end"
  poweroff -f
}

mount_all() {
  mount -t proc proc /proc
  mount -t sysfs sysfs /sys
  mount -t devtmpfs devtmpfs /dev
  mount -t tmpfs tmpfs /run
  mount -t tmpfs tmpfs /tmp
  ln -s /proc/self/fd /dev/fd
}

load_modules() {
  for file in $(cat /modules/order); do insmod "/modules/$file" || echo "cannot load $file"; done
}

connect() {
  ip link set lo up
  ip link add eth0 type dummy
  ip address add 192.168.58.11/24 dev eth0
  ip -6 address add fd00:58::11/64 dev eth0
  ip link set eth0 up
  ip route add default dev eth0
  ip -6 route add default dev eth0
  echo 1 >/proc/sys/net/ipv4/ip_forward
  echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
}

start_datastore() {
  flanneld datastore --insecure --listen 192.168.58.11:2379 --network 10.7.0.0/16,fd00:7::/48 \
    --data-dir /tmp/datastore >/tmp/datastore.log 2>&1 &
  await_line /tmp/datastore.log '] ready; '
}

start_daemon() {
  flanneld --etcd-endpoints=http://192.168.58.11:2379 --ip-masq >/tmp/flanneld.log 2>&1 &
  await_line /tmp/flanneld.log '] ready; '
}

# await_line FILE TEXT: shows the file when it has such a line, when the last program in the background
# has ended, or after 120 s.
await_line() {
  seconds=0
  until grep -qF "$2" "$1" || ! kill -0 $! || [ $seconds = 120 ]; do
    sleep 1
    seconds=$((seconds + 1))
  done
  show "$1" cat "$1"
}

# show NAME COMMAND...: the output of a command, under a heading.
show() {
  echo "== $1"
  shift
  "$@" 2>&1
}

main
