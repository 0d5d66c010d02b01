# podman on the pretend machine, with its CNI backend, which it has up to version 4; sets `podman`, `run`, `inside`.

on tee /etc/containers/containers.conf >/dev/null <<'C'
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/spy"]
network_config_dir = "/etc/cni/net.d"
default_network = "pods"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
C
podman() { on env CONTAINERS_CONF=/etc/containers/containers.conf podman "$@"; }
run() { podman run -d --cgroup-parent /podwire-e2e --name "$@"; }
inside() { podman exec "$@"; }
httpd=(localhost/e2e:1 httpd -f -p 80 -h /www)

backend=$(podman info -f '{{.Host.NetworkBackend}}' 2>&1) || { skip "podman: $(on podman --version) has no CNI backend: $backend"; exit 0; }
echo "# $(on podman --version), network backend $backend"
