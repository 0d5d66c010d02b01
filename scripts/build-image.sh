#!/usr/bin/env bash
# Builds an image of podwire as an archive, without Docker and without a registry:
#
#   ./scripts/build-image.sh [FILE]      the archive; default: dist/podwire-image.tar
#
# `ctr images import`, `kind load image-archive`, `podman load` and `docker load` take it. Of the same dist/bin, on the same
# machine, it is the same archive to the byte.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
helps "$@"
case ${1:-} in -*) wrong "there is no option $1" ;; esac
[ $# -le 1 ] || wrong "expected one file, not $#"

[ -x dist/bin/podwire ] || bash scripts/build-sea.sh
node=$(bash scripts/node.sh)
"$node" scripts/image.ts "${1:-dist/podwire-image.tar}"
