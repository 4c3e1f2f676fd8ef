#!/bin/bash
# Writes the TypeScript of the .proto files beside this script, into the given folder or beside them.
# Needs protoc (Debian: protobuf-compiler). The result is committed; a test holds it to the source.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../../..
bin=$root/node_modules/.bin
out=${1:-$here}

protoc --plugin=protoc-gen-es="$bin/protoc-gen-es" \
  --es_out="$out" --es_opt=target=ts,import_extension=ts \
  -I "$here" "$here"/kv.proto "$here"/rpc.proto
for file in "$out"/kv_pb.ts "$out"/rpc_pb.ts; do
  sed -i '1i // deno-lint-ignore-file' "$file"
done
"$bin/deno" fmt -q --config "$root/deno.json" "$out"/kv_pb.ts "$out"/rpc_pb.ts
