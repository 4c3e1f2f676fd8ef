#!/bin/sh
# Does in a root file system of rootfs.sh what the maintainer scripts of its packages would do there,
# from outside: its programs may be for another architecture.
#
#   setup.sh ROOT nft|legacy     the variant of iptables; that of kube-proxy and kubelet on the nodes
#
# rootfs.sh runs it as a hook of mmdebstrap, which sets MMDEBSTRAP_ESSENTIAL: the paths of the
# packages in ROOT.
set -eu
export LC_ALL=C # the order of files

main() {
  case ${2:-} in
    nft | legacy) variant=$2 ;;
    *) fail "usage: $0 ROOT nft|legacy; IPTABLES is \"${2:-}\"" ;;
  esac
  cd "$1"
  record_packages
  add_users
  use_run
  choose_alternatives
  add_names
  remove_documents
  remove_traces
}

# dpkg's database, so that `dpkg -l` and scanners for vulnerabilities see what the image contains.
record_packages() {
  for package in $MMDEBSTRAP_ESSENTIAL; do
    name=$(dpkg-deb --field ".$package" Package)
    dpkg-deb --field ".$package" |
      sed 's/^Package: .*/&\nStatus: install ok installed/; $G' >"var/lib/dpkg/info/$name.record"
  done
  cat var/lib/dpkg/info/*.record >var/lib/dpkg/status
  rm var/lib/dpkg/info/*.record
}

# As base-passwd and libc-bin do.
add_users() {
  cp usr/share/base-passwd/passwd.master etc/passwd
  cp usr/share/base-passwd/group.master etc/group
  cp usr/share/libc-bin/nsswitch.conf etc/nsswitch.conf
}

# As base-files does.
use_run() {
  mkdir -p run/lock
  for name in run lock; do
    [ ! -d "var/$name" ] || rmdir "var/$name"
  done
  ln -s /run var/run
  ln -s /run/lock var/lock
}

# As update-alternatives does.
choose_alternatives() {
  ln -s mawk usr/bin/awk
  ln -s which.debianutils usr/bin/which
  for name in iptables ip6tables; do
    for action in '' -save -restore; do
      ln -sf "$name-$variant$action" "usr/sbin/$name$action"
    done
  done
}

# The names that manifests for Go flannel's images use: for its copying program, and for the CNI
# plugin, which an init container copies to the host.
add_names() {
  mkdir -p opt/bin
  ln -s flanneld opt/bin/install-conf
  ln -s /opt/bin/flanneld flannel
}

# All but the licences.
remove_documents() {
  rm -rf usr/share/man usr/share/info usr/share/locale
  find usr/share/doc ! -type d ! -name copyright -delete
  find usr/share/doc -type d -empty -delete
}

# What mmdebstrap has written, and what names this machine.
remove_traces() {
  rm -f etc/hostname etc/resolv.conf etc/apt/sources.list
}

fail() {
  echo "setup.sh: $*" >&2
  exit 1
}

main "$@"
