#!/usr/bin/env bash
# All tests, on a machine with nothing installed before: npm packages, Debian's packages where root may install them, the
# executable, types, tests. Arguments are test files to run instead of all.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

PATH=$PATH:/usr/sbin:/sbin # where an ordinary user's shell does not look for ip and nft
need unshare:util-linux ip:iproute2 nft:nftables ping:iputils-ping conntrack:conntrack jq:jq setpriv:util-linux flock:util-linux
want /usr/lib/cni/host-local:containernetworking-plugins strace:strace
packages
step 'checking types' node_modules/.bin/tsc
step 'building the executable' bash scripts/build-sea.sh

# What a test's process loads is compiled once for all of them. man: node --help, NODE_COMPILE_CACHE
export NODE_COMPILE_CACHE=$PWD/node_modules/.cache/compiled
# One line a file as it ends, failures whole, then the count.
export PATH=$PWD/node_modules/node-linux-$(node_arch)/bin:$PATH
node_modules/.bin/tap --reporter=tap "$@" | awk '
  /^(not )?ok/ { sub(/ # time=/, "  "); print; fflush() }
  /^ok/ { passed++ } /^not ok/ { failed++ }
  /^ +not ok/ { block = 1 } block { print } /^ +\.\.\.$/ { block = 0 }
  / # SKIP/ && /^ +ok/ { skipped++; print }
  END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped; exit failed > 0 || passed == 0 }'
