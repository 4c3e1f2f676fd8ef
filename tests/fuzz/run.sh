#!/bin/bash
# `npm run test:fuzz`: see main.ts. Some targets call code that uses the network, so they get none.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
if [[ ! -x node_modules/.bin/bun ]]; then
  echo "node_modules/.bin/bun is missing: run npm ci first" >&2
  exit 1
fi
exec unshare --net --mount --pid --fork --kill-child --mount-proc \
  node_modules/.bin/bun tests/fuzz/main.ts "$@"
