#!/usr/bin/env bash
# Builds dist/bin: the podwire executable and, as hard links to it, one name per plugin, so that dist/bin is a CNI_PATH;
# and dist/lib/podwire, what a host may lack. From a clean clone, with npm alone.
#
#   ./scripts/build-sea.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
nothing_else "$@"

[ -d node_modules/esbuild ] || npm ci --ignore-scripts --no-audit --no-fund
node=$(bash scripts/node.sh)

rm -rf dist
mkdir -p dist/build dist/bin dist/lib/podwire
"$node" scripts/build.ts
for name in $("$node" -p 'Object.keys(require("./src/plugins.ts").PLUGINS).join(" ")'); do
  ln dist/bin/podwire "dist/bin/$name"
  ln dist/bin/podwire "dist/bin/podwire-$name"
done
echo "built dist/bin/podwire, $(stat -c %s dist/bin/podwire | numfmt --to=iec) ($(dist/bin/podwire version | tr -s ' \n' ' '))"
