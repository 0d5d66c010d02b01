# A Kubernetes on the machines: dual-stack, RBAC and ServiceAccounts in force, no privileged pods allowed.

PODS=10.244.0.0/16,fd00:10:244::/56 SERVICES=10.96.0.0/16,fd00:10:96::/112
GATES=IPv6DualStack=true

kubectl() { on control /opt/kubernetes/kubectl --kubeconfig /etc/kubernetes/admin.conf --request-timeout=10s "$@"; }

# credentials USER GROUP [GROUP]: a token that the API server will know, and a kubeconfig on standard output.
credentials() {
  local token
  token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  echo "$token,$1,$1,\"$(IFS=,; echo "${*:2}")\"" >>"$cluster/pki/tokens.csv"
  jq -n --arg user "$1" --arg token "$token" --arg ca "$(base64 -w0 "$cluster/pki/ca.crt")" '{apiVersion: "v1", kind: "Config", "current-context": "cluster",
    contexts: [{name: "cluster", context: {cluster: "cluster", user: $user}}], users: [{name: $user, user: {token: $token}}],
    clusters: [{name: "cluster", cluster: {server: "https://192.0.2.10:6443", "certificate-authority-data": $ca}}]}'
}

# The cluster's certificate authority, the API server's certificate, and the key of ServiceAccounts' tokens.
authority() {
  mkdir -p "$cluster/pki"
  (
    cd "$cluster/pki"
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=cluster -keyout ca.key -out ca.crt
    openssl req -newkey rsa:2048 -nodes -subj /CN=kube-apiserver -keyout apiserver.key -out apiserver.csr
    openssl x509 -req -in apiserver.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out apiserver.crt \
      -extfile <(echo 'subjectAltName = DNS:kubernetes, DNS:kubernetes.default.svc, IP:192.0.2.10, IP:10.96.0.1')
    openssl genrsa -out accounts.key 2048
  ) >"$cluster/pki/openssl.log" 2>&1
}

control_plane() {
  authority
  boot control
  plug control 10
  local user
  on control mkdir -p /etc/kubernetes
  credentials admin system:masters | on control tee /etc/kubernetes/admin.conf >/dev/null
  for user in controller-manager scheduler; do credentials system:kube-$user | on control tee /etc/kubernetes/$user.conf >/dev/null; done
  for user in a b c; do
    credentials system:node:$user system:nodes >"$cluster/kubelet-$user.conf"
    credentials system:kube-proxy >"$cluster/proxy-$user.conf"
  done
  service control etcd /opt/e2e/etcd/etcd --data-dir /var/lib/etcd --unsafe-no-fsync
  api_server
  service control controller-manager /opt/kubernetes/kube-controller-manager --kubeconfig /etc/kubernetes/controller-manager.conf --leader-elect=false --use-service-account-credentials \
    --feature-gates $GATES --allocate-node-cidrs --cluster-cidr $PODS --node-cidr-mask-size-ipv4 24 --node-cidr-mask-size-ipv6 64 \
    --service-cluster-ip-range $SERVICES --configure-cloud-routes=false \
    --root-ca-file /opt/e2e/cluster/pki/ca.crt --service-account-private-key-file /opt/e2e/cluster/pki/accounts.key --cert-dir /var/lib/controller-manager --flex-volume-plugin-dir /var/lib/flex \
    --node-monitor-grace-period 12s --pod-eviction-timeout 5s
  service control scheduler /opt/kubernetes/kube-scheduler --kubeconfig /etc/kubernetes/scheduler.conf --leader-elect=false --cert-dir /var/lib/scheduler
}

# BoundServiceAccountTokenVolume: tokens as newer Kubernetes makes them, which expire and are renewed.
api_server() {
  service control apiserver /opt/kubernetes/kube-apiserver --etcd-servers http://127.0.0.1:2379 --bind-address 192.0.2.10 --secure-port 6443 --authorization-mode Node,RBAC \
    --enable-admission-plugins NodeRestriction --feature-gates $GATES,BoundServiceAccountTokenVolume=true --service-cluster-ip-range $SERVICES --token-auth-file /opt/e2e/cluster/pki/tokens.csv \
    --tls-cert-file /opt/e2e/cluster/pki/apiserver.crt --tls-private-key-file /opt/e2e/cluster/pki/apiserver.key --cert-dir /var/lib/apiserver --kubelet-preferred-address-types InternalIP \
    --service-account-issuer https://kubernetes.default.svc --service-account-signing-key-file /opt/e2e/cluster/pki/accounts.key --service-account-key-file /opt/e2e/cluster/pki/accounts.key
  within 60 api_healthy || { not_ok "the API server does not start: $(tail -3 "$cluster/control/apiserver.log")"; exit 1; }
}
api_healthy() { [ "$(kubectl get --raw /healthz)" = ok ]; }

# node NAME NUMBER: a machine with containerd, kubelet and kube-proxy, which registers itself.
node() {
  boot "$1"
  plug "$1" "$2"
  on "$1" tee /etc/containerd.toml >/dev/null <<'C'
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/e2e:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  disable_tcp_service = true
C
  on "$1" sh -c 'cat >/etc/kubernetes/kubelet.conf' <"$cluster/kubelet-$1.conf"
  on "$1" sh -c 'cat >/etc/kubernetes/proxy.conf' <"$cluster/proxy-$1.conf"
  kubelet_configuration "$1" | on "$1" tee /etc/kubernetes/kubelet.json >/dev/null
  service "$1" containerd containerd -c /etc/containerd.toml
  within 20 on "$1" ctr version || { not_ok "containerd of $1 does not start: $(tail -3 "$cluster/$1/containerd.log")"; exit 1; }
  on "$1" ctr -n k8s.io images import /opt/e2e/image/image.tar >/dev/null
  service "$1" kubelet /opt/kubernetes/kubelet --config /etc/kubernetes/kubelet.json --kubeconfig /etc/kubernetes/kubelet.conf --cert-dir /var/lib/kubelet/pki \
    --hostname-override "$1" --node-ip "192.0.2.$2,2001:db8::$2" \
    --container-runtime remote --container-runtime-endpoint unix:///run/containerd/containerd.sock
  service "$1" proxy /opt/kubernetes/kube-proxy --kubeconfig /etc/kubernetes/proxy.conf --hostname-override "$1" --proxy-mode iptables --feature-gates $GATES --cluster-cidr $PODS \
    --conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0s --conntrack-tcp-timeout-close-wait 0s
}

kubelet_configuration() {
  jq -n --arg cgroup "/podwire-cluster/$1" '{
    apiVersion: "kubelet.config.k8s.io/v1beta1", kind: "KubeletConfiguration", featureGates: {IPv6DualStack: true}, staticPodPath: "/etc/kubernetes/manifests",
    authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}, authorization: {mode: "AlwaysAllow"}, nodeStatusUpdateFrequency: "3s", syncFrequency: "5s",
    cgroupDriver: "cgroupfs", cgroupRoot: $cgroup, enforceNodeAllocatable: [], failSwapOn: false, oomScoreAdj: 0, resolvConf: "",
    evictionHard: {"memory.available": "10Mi"}, imageGCHighThresholdPercent: 100, volumePluginDir: "/var/lib/flex"}'
}

# What the API server says of nodes.
registered() { [ -n "$(kubectl get node "$1" -o 'jsonpath={.spec.podCIDR}')" ]; }
readiness() { kubectl get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'; }
ready() { local node; for node; do [ "$(readiness "$node")" = True ] || return 1; done; }
cidrs() { kubectl get node "$1" -o 'jsonpath={.spec.podCIDRs[*]}'; }
