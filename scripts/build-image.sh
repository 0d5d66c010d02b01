#!/usr/bin/env bash
# Builds an image of podwire as an archive, without Docker and without a registry:
#
#   ./scripts/build-image.sh [FILE]      dist/podwire-image.tar if none is named
#
# `ctr images import`, `kind load image-archive`, `podman load` and `docker load` take it. Of the same dist/bin, on the same
# machine, it is the same archive to the byte.
set -euo pipefail
cd "$(dirname "$0")/.."

[ -x dist/bin/podwire ] || bash scripts/build-sea.sh
node=$(bash scripts/node.sh)
"$node" scripts/image.ts "${1:-dist/podwire-image.tar}"
