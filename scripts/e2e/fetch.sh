# Gets one thing that clients need into the cache: image, containerd, containerd-1.7, grpc, cnitool or reference. Debian packages come from the
# mirror that apt uses here, signatures checked by apt, and are unpacked, not installed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
here=$(readlink -f "$(dirname "$0")")
into=$cache/$1
rm -rf "$into"
mkdir -p "$into"
cd "$into"

# debian SUITE COMMAND ARGUMENTS...: apt-get with that as its only source.
debian() {
  local suite=$1 apt=$cache/apt-$1 mirror
  if [ ! -e "$apt/apt.conf" ]; then
    read -r mirror < <(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$')
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    printf '%s [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' deb "$mirror" "$suite" deb-src "$mirror" "$suite" >"$apt/sources.list"
    printf '%s;\n' "Dir::Etc::SourceList \"$apt/sources.list\"" 'Dir::Etc::SourceParts "/dev/null"' "Dir::State::Lists \"$apt/lists\"" "Dir::Cache \"$apt\"" 'Acquire::Languages "none"' 'APT::Sandbox::User "root"' >"$apt/apt.conf.new"
    APT_CONFIG=$apt/apt.conf.new apt-get -qq update
    mv "$apt/apt.conf.new" "$apt/apt.conf"
  fi
  APT_CONFIG=$apt/apt.conf apt-get -qq "${@:2}"
}

# debs SUITE PACKAGE...: unpacks them here.
debs() {
  debian "$1" download "${@:2}"
  local deb
  for deb in *.deb; do dpkg -x "$deb" . && rm "$deb"; done
}

# An image of busybox and its applets, with a web server that says whom it hears: as a directory, and as `docker save`
# writes it.
image() {
  debs sid busybox-static
  mkdir -p root/{bin,www/cgi-bin,etc,tmp,proc,sys,dev,run}
  mv usr/bin/busybox root/bin/busybox
  rm -r usr
  local applet layer config
  for applet in $(root/bin/busybox --list | grep -vx busybox); do ln -s busybox "root/bin/$applet"; done
  printf '#!/bin/sh\nprintf "Content-type: text/plain\\n\\n$REMOTE_ADDR\\n"\n' >root/www/cgi-bin/who
  printf '#!/bin/sh\ntrap "exit 0" TERM\nsleep 86400 & wait\n' >root/pause
  chmod +x root/www/cgi-bin/who root/pause
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C root -cf layer.tar .
  layer=$(sha256sum <layer.tar)
  printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["/pause"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$(dpkg --print-architecture)" "${layer%% *}" >config.json
  config=$(sha256sum <config.json)
  mv config.json "${config%% *}.json"
  printf '[{"Config":"%s.json","RepoTags":["localhost/e2e:1"],"Layers":["layer.tar"]}]' "${config%% *}" >manifest.json
  tar --mtime=@0 -cf image.tar manifest.json "${config%% *}.json" layer.tar
  rm layer.tar ./*.json
}

containerd() { debs sid containerd; }
containerd-1.7() { debs trixie containerd; }

# The reference's plugins.
reference() { debs sid containernetworking-plugins; }

# gRPC for Node and the definition of Kubernetes' CRI.
grpc() {
  debs sid golang-k8s-cri-api-dev
  mv usr/share/gocode/src/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto .
  rm -r usr
  npm install --prefix . --ignore-scripts --no-audit --no-fund --no-save --silent @grpc/grpc-js@1.14.7 @grpc/proto-loader@0.8.1
}

# cnitool and our gc.go, built from Debian's source of CNI with a Go that is new enough for it.
cnitool() {
  debs sid golang-1.26-go golang-1.26-src
  debian sid source --download-only --tar-only golang-github-appc-cni
  local cni=gopath/src/github.com/containernetworking/cni
  mkdir -p $cni
  tar xf golang-github-appc-cni_*.orig.tar.* -C $cni --strip-components=1
  export GO111MODULE=off GOPATH=$PWD/gopath GOROOT=$PWD/usr/lib/go-1.26 GOCACHE=$PWD/gocache GOFLAGS='' CGO_ENABLED=0 GOTOOLCHAIN=local
  "$GOROOT/bin/go" build -o cnitool github.com/containernetworking/cni/cnitool
  "$GOROOT/bin/go" build -o gc "$here/gc.go"
  rm -rf usr gopath gocache golang-*
}

"$1"
touch .complete
