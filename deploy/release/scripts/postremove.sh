#!/bin/sh
# The datastore's data in /var/lib/flannel remains: it is that of the cluster.
set -e

if [ "$1" = purge ]; then rm -rf /etc/flanneld /var/lib/flannel/joined.json; fi
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
