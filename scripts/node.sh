#!/usr/bin/env bash
# Prints the path of the Node.js that podwire is developed, tested and built with: the one from npm for this machine.
#
#   ./scripts/node.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
nothing_else "$@"
case $(uname -m) in
  x86_64) arch=x64 ;;
  aarch64) arch=arm64 ;;
  *) echo "podwire is built for x86_64 and aarch64, not for $(uname -m)" >&2; exit 1 ;;
esac
node=$PWD/node_modules/node-linux-$arch/bin/node
[ -x "$node" ] || { echo "$node is missing: run npm ci --ignore-scripts" >&2; exit 1; }
"$node" --version >/dev/null || { echo "$node does not run here: install libatomic1 (apt-get install libatomic1)" >&2; exit 1; }
echo "$node"
