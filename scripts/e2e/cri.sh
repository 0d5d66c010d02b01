# containerd's CRI, as kubelet uses it: pods come and go, containerd restarts, a pod's process is killed, the node loses
# its power. Argument: where containerd is.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/containerd.sh"

machine
containerd_up "$1"
ctr -n k8s.io image import /opt/e2e/image/image.tar >/dev/null

. "$(dirname "$0")/cri-calls.sh"

# network_of SUBNET: the network's configuration is written, and containerd has noticed.
network_of() {
  conflist 10-pods.conflist <<C
{
  "cniVersion": "1.0.0", "cniVersions": ["0.4.0", "1.0.0", "1.1.0"], "name": "pods",
  "plugins": [{
    "type": "ptp", "ipMasq": true, "capabilities": {"ips": true, "mac": true, "ipRanges": true},
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "$1"}], [{"subnet": "fd00:77::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}
  }]
}
C
  soon loaded "$1"
}

does 'NetworkReady is false without a network' not_ready
network_of 10.77.0.0/24
does 'NetworkReady is true with ours' ready
before=$(state)

for name in a b; do
  does "pod $name" run $name || exit
  serve $name
done
is 'addresses of the first pod' "$(addresses a)" '10.77.0.2 fd00:77::2'
is 'addresses of the second' "$(addresses b)" '10.77.0.3 fd00:77::3'
packets inside a b '10.77.0.2 fd00:77::2' '10.77.0.3 fd00:77::3' '10.77.0.1 fd00:77::1'

does 'stop of a pod' stop a
does 'stop of it again' stop a
does 'its removal' remove a
echo "# DEL came $(calls 'DEL ptp') times for it"
is 'its addresses are free, and only they' "$(on ls /var/lib/cni/networks/pods | grep -E '^(10|fd)' | xargs)" '10.77.0.3 fd00:77::3'
does 'the other is reached' on curl -sS -m 3 "$(who 10.77.0.3)"

containerd_down
containerd_up "$1"
is 'containerd restarted: the pod has its addresses' "$(addresses b)" '10.77.0.3 fd00:77::3'
is 'and reaches the outside' "$(heard inside b wget -qO- -T 3 "$(who 192.0.2.2)")" 192.0.2.1

does 'end of the other pod' end b
same 'nothing is left of both' "$before" state

run k
on kill -9 "$(status k | jq -r '.info.info | fromjson | .pid')"
does 'end of a pod whose process was killed' end k
same 'nothing is left of it' "$before" state

# Ten at once.
mapfile -t requests < <(for i in {1..10}; do echo "{\"config\":$(sandbox "p$i")}"; done)
mapfile -t sandboxes < <(cri RunPodSandbox "${requests[@]}" | jq -c '{pod_sandbox_id}')
is 'ten pods at once' ${#sandboxes[@]} 10
is 'have twenty addresses' "$(cri PodSandboxStatus "${sandboxes[@]}" | jq -r '.status.network | .ip, .additional_ips[].ip' | sort -u | wc -l)" 20
does 'are stopped at once' cri StopPodSandbox "${sandboxes[@]}"
cri RemovePodSandbox "${sandboxes[@]}" >/dev/null
same 'and leave nothing' "$before" state

# A network of one address, which another pod has.
network_of 10.77.1.0/30
run c
does_not 'a pod that finds no address is refused' run d
like 'the refusal says why' "$said" 'no IP addresses available in range set: 10.77.1.1-10.77.1.2'
words=$(sed -n "s/.*journalctl -u containerd | grep '\([^']*\)'.*/\1/p" docs/operations.md)
like 'and the log where docs/operations.md says' "$(grep "$words" "$cache/disk/containerd.log")" 'no IP addresses available in range set'
if on grep -q ^STATUS /run/calls; then
  like 'NetworkReady says it' "$(network)" 'no IP addresses available in range set'
  does 'its pod ended' end c
  does 'NetworkReady is true again' ready
else
  echo '# this containerd does not call STATUS'
  end c
fi
same 'both leave nothing' "$before" state

# The power fails: no process, no namespace, no interface is left, only what is on the disk.
network_of 10.77.0.0/24
run e
is 'a lease before the power fails' "$(on ls /var/lib/cni/networks/pods | grep -c ^10)" 1
machine_down
machine_up
containerd_up "$1"
network_of 10.77.0.0/24
before=$(state | grep -v /var/lib/cni/)
is 'after it the lease is there' "$(on ls /var/lib/cni/networks/pods | grep -c ^10)" 1
does 'end of the pod that was there' end e
like 'DEL came without a namespace' "$(on cat /run/calls)" 'DEL ptp netns= '
same 'nothing is left of it' "$before" state
run f && serve f
is 'a new pod reaches the outside' "$(heard inside f wget -qO- -T 3 "$(who 2001:db8::2)")" 2001:db8::1
end f
same 'and leaves nothing' "$before" state
is 'every DEL succeeded' "$(on grep ^DEL /run/calls | grep -v status=0)" ''
