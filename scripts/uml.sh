#!/usr/bin/env bash
# Runs test files in a user-mode Linux, a kernel that has what this machine's may lack (VLANs on bridges):
#
#   ./scripts/uml.sh FILE...      test/bridge-vlan.test.ts
#
# It is no part of the tests, because it needs more of Debian: the packages user-mode-linux and kmod are unpacked in the user's
# cache and not installed; remove the cache for newer ones. The guest's disk is this machine's, read-only. Needs no root.
set -euo pipefail
if [ -z "${UML:-}" ]; then # on the machine
  cd "$(dirname "$0")/.."
  . scripts/setup.sh
  helps "$@"
  [ $# -gt 0 ] || wrong 'expected files of tests'
  for file; do [ -f "$file" ] || wrong "$file is no file of tests"; done
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/podwire-uml
  if [ ! -x "$cache/usr/bin/linux.uml" ]; then
    mkdir -p "$cache/lib"
    (cd "$cache" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download user-mode-linux kmod && for deb in *.deb; do dpkg-deb --extract "$deb" .; done && rm -- *.deb)
    ln -sfn ../usr/lib/uml/modules "$cache/lib/modules" # where modprobe -d looks
  fi
  "$cache/usr/bin/linux.uml" mem=512M rootfstype=hostfs rootflags=/ ro init="$PWD/scripts/uml.sh" UML="$cache" DIR="$PWD" \
    REFERENCE="${REFERENCE:-/usr/lib/cni}" NODE="$(bash scripts/node.sh)" TESTS="\"$*\"" con=null con0=fd:0,fd:1 quiet </dev/null | tee /dev/stderr | grep '^all passed' >/dev/null # to the end: with -q, tee would have nobody to write to
  exit
fi

# In the guest, as its init.
export PATH=${NODE%/*}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t tmpfs run /run && mount -t tmpfs lib /var/lib
ln -s "$UML/bin/kmod" /run/modprobe # who it is it knows by its name
printf '#!/bin/sh\nexec /run/modprobe -d "%s" "$@"\n' "$UML" >/run/load && chmod +x /run/load && echo /run/load >/proc/sys/kernel/modprobe
ip link set lo up
cd "$DIR"
failed=0
for test in $TESTS; do node --disable-warning=ExperimentalWarning "$test" || failed=1; done
[ $failed = 1 ] || echo 'all passed'
echo o >/proc/sysrq-trigger # off
sleep 10
