# Starting containerd on the pretend machine, for its two clients. One configuration serves 1.6 to 2.x.

# containerd_up DIRECTORY-OF-ITS-PROGRAMS
containerd_up() {
  programs=$1
  on tee /etc/containerd.toml >/dev/null <<'C'
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/e2e:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/spy"
    conf_dir = "/etc/cni/net.d"
C
  local version
  version=$(on "$programs/containerd" --version 2>&1) || { skip "${programs#/opt/e2e/}/containerd does not run here: $version"; exit; }
  echo "# $(cut -d' ' -f3 <<<"$version")"
  # What systemd would give it: nothing but a PATH.
  on env -i "PATH=$programs:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
    sh -c 'echo $$ >/run/containerd.pid; exec containerd -c /etc/containerd.toml' </dev/null >"$cache/disk/containerd.log" 2>&1 &
  soon containerd_answers || { not_ok "containerd does not start: $(tail -3 "$cache/disk/containerd.log")"; exit; }
}
containerd_answers() { ctr version >/dev/null 2>&1; }

containerd_down() {
  on sh -c 'kill "$(cat /run/containerd.pid)"'
  soon containerd_gone
}
containerd_gone() { ! on sh -c 'kill -0 "$(cat /run/containerd.pid)"' 2>/dev/null; }

ctr() { on env "PATH=$programs:$PATH" ctr "$@"; }
