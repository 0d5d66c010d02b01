# Gets one thing that the cluster needs into the cache: etcd or kubernetes. Of Debian 12, from the mirror that apt uses here,
# signatures checked by apt; unpacked, not installed.
set -euo pipefail
. "$(dirname "$0")/../e2e/lib.sh"
into=$cache/$1
rm -rf "$into"
mkdir -p "$into"
cd "$into"

# bookworm COMMAND ARGUMENTS...: apt-get with Debian 12 as its only source.
bookworm() {
  local apt=$cache/apt-bookworm mirror
  if [ ! -e "$apt/apt.conf" ]; then
    read -r mirror < <(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$')
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    printf '%s [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s bookworm main\n' deb "$mirror" deb-src "$mirror" >"$apt/sources.list"
    printf '%s;\n' "Dir::Etc::SourceList \"$apt/sources.list\"" 'Dir::Etc::SourceParts "/dev/null"' "Dir::State::Lists \"$apt/lists\"" "Dir::Cache \"$apt\"" 'Acquire::Languages "none"' 'APT::Sandbox::User "root"' >"$apt/apt.conf.new"
    APT_CONFIG=$apt/apt.conf.new apt-get -qq update
    mv "$apt/apt.conf.new" "$apt/apt.conf"
  fi
  APT_CONFIG=$apt/apt.conf apt-get -qq "$@"
}

debs() {
  bookworm download "$@"
  local deb
  for deb in *.deb; do dpkg -x "$deb" . && rm "$deb"; done
}

etcd() {
  debs etcd-server
  mv usr/bin/etcd .
  rm -r usr etc lib var 2>/dev/null || :
}

# Kubernetes' programs from its source, with the Go of the same Debian: no Debian has them as binaries. In GOPATH mode,
# because vendor/ is not quite what go.mod says. It takes a quarter of an hour of CPU time.
kubernetes() {
  debs golang-1.19-go golang-1.19-src
  bookworm source --download-only --tar-only kubernetes
  local tree=gopath/src/k8s.io/kubernetes version=k8s.io/kubernetes/vendor/k8s.io/component-base/version program
  mkdir -p $tree
  tar xf kubernetes_*.orig.tar.* -C $tree --strip-components=1
  export GO111MODULE=off GOPATH=$PWD/gopath GOROOT=$PWD/usr/lib/go-1.19 GOCACHE=$PWD/gocache GOFLAGS='' CGO_ENABLED=0
  (cd $tree && openapi)
  for program in kubectl kubelet kube-proxy kube-scheduler kube-controller-manager kube-apiserver; do
    nice -n 19 "$GOROOT/bin/go" build -p 2 -tags providerless,dockerless,nolegacyproviders \
      -ldflags "-s -w -X $version.gitVersion=v1.20.2 -X $version.gitMajor=1 -X $version.gitMinor=20" -o "$program" "k8s.io/kubernetes/cmd/$program"
  done
  rm -rf usr gopath gocache kubernetes_*
}

# The API server's description of its types: the one file that upstream generates and Debian's source lacks.
openapi() {
  local sources types
  "$GOROOT/bin/go" build -o openapi-gen k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen
  sources=$(grep -rl --include='*.go' '+k8s:openapi-gen=' pkg staging/src/k8s.io cmd | grep -vE '/(sample[^/]*|testdata|test|code-generator)/')
  types=$(xargs -n1 dirname <<<"$sources" | sort -u | sed 's#^staging/src/#vendor/#; s#^#k8s.io/kubernetes/#' | paste -sd,)
  ./openapi-gen -i "$types" -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi -h hack/boilerplate/boilerplate.generatego.txt -r /dev/null
}

"$1"
touch .complete
