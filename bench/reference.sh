#!/usr/bin/env bash
# reference.sh SUITE: the reference's plugins of a Debian suite, unpacked in the user's cache and not installed. Prints
# their version and their directory. What is cached is not fetched again; remove the cache for what is newer.
set -euo pipefail
[[ $# = 1 && $1 =~ ^[a-z][a-z0-9.-]*$ ]] || { echo "usage: $0 SUITE (sid, bookworm)" >&2; exit 2; }
suite=$1
package=containernetworking-plugins
cache=${XDG_CACHE_HOME:-$HOME/.cache}/podwire-bench/$suite

# With lists and a source of its own, so that apt verifies what it fetches and the machine's apt stays as it is.
fetch() {
  local mirror
  read -r mirror < <(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$')
  mkdir -p "$cache/lists/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$cache/sources.list"
  apt() {
    apt-get -qq -o Dir::Etc::SourceList="$cache/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$cache/lists" \
      -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)" "$@"
  }
  apt update
  (cd "$cache" && apt download "$package")
  dpkg-deb --extract "$cache/$package"_*.deb "$cache/root"
  dpkg-deb --field "$cache/$package"_*.deb Version >"$cache/version"
}

[ -s "$cache/version" ] || { rm -rf "$cache"; fetch >&2; rm -rf "$cache/lists" "$cache/sources.list" "$cache"/*.deb; }
echo "$(<"$cache/version") $cache/root/usr/lib/cni"
