# What kubelet does with containerd's CRI.

node=$(bash scripts/node.sh)
cri() { CRI_SOCKET=/proc/$init/root/run/containerd/containerd.sock CRI_CACHE=$cache/grpc "$node" scripts/e2e/cri.ts "$@"; }

# Sandboxes and the one container in each, by name.
declare -A pod container
sandbox() { printf '{"metadata":{"name":"%s","uid":"%s","namespace":"e2e"},"linux":{"cgroup_parent":"/podwire-e2e"}}' "$1" "$1"; }

# run NAME [PORTS] [ANNOTATIONS]: both in JSON, as kubelet writes hostPort and what a pod is annotated with.
run() {
  local answer
  answer=$(cri RunPodSandbox "$(sandbox "$1" | jq -c "{config: (. + {port_mappings: ${2:-[]}, annotations: ${3:-{\}}})}")") || return 1
  pod[$1]=$(jq -r .pod_sandbox_id <<<"$answer")
}
serve() {
  local config='{"metadata":{"name":"httpd"},"image":{"image":"localhost/e2e:1"},"command":["/bin/httpd","-f","-p","80","-h","/www"],"linux":{}}'
  container[$1]=$(cri CreateContainer "{\"pod_sandbox_id\":\"${pod[$1]}\",\"config\":$config,\"sandbox_config\":$(sandbox "$1")}" | jq -r .container_id)
  cri StartContainer "{\"container_id\":\"${container[$1]}\"}" >/dev/null
}
inside() { cri ExecSync "$(printf '%s\n' "${@:2}" | jq -Rnc --arg id "${container[$1]}" '{container_id: $id, timeout: 10, cmd: [inputs]}')" | jq -r '.stdout + .stderr'; }
status() { cri PodSandboxStatus "{\"pod_sandbox_id\":\"${pod[$1]}\",\"verbose\":true}"; }
addresses() { status "$1" | jq -r '[.status.network.ip, .status.network.additional_ips[].ip] | join(" ")'; }
stop() { cri StopPodSandbox "{\"pod_sandbox_id\":\"${pod[$1]}\"}" >/dev/null; }
remove() { cri RemovePodSandbox "{\"pod_sandbox_id\":\"${pod[$1]}\"}" >/dev/null; }
end() { stop "$1" && remove "$1"; }
network() { cri Status | jq -r '.status.conditions[] | select(.type == "NetworkReady") | "\(.status) \(.message)"'; }
ready() { [[ $(network) == true* ]]; }
not_ready() { [[ $(network) == false* ]]; }
calls() { on grep -c "^$1" /run/calls; }
loaded() { cri Status '{"verbose":true}' | grep -qF "$1"; }
