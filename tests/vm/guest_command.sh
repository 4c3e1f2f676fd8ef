#!/bin/bash
# Continues as the guest's first process: runs the command and reports its exit status on the third
# serial line. tests/vm/run ends the guest when it has read that.
. /run/vm/environment
export FLANNELD_VM=1
mapfile -d '' -t command </run/vm/command
mapfile -d '' -t directory </run/vm/directory
cd "${directory[0]}" || cd / || exit
# Not the machine's, where files may change below ours.
TMPDIR=$(mktemp -d /tmp/guest.XXXXXX) || exit
export TMPDIR
echo started >/dev/ttyS2

"${command[@]}" >/dev/ttyS0 2>/dev/ttyS1 </dev/null
status=$?

kill -KILL -1 2>/dev/null # processes of the command may still write
sleep 0.05
echo "status $status end" >/dev/ttyS2
sleep infinity
