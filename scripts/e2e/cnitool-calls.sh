# Calls of cnitool. A pod is a namespace with a web server.

cni() { on env CNI_PATH=/opt/cni/bin NETCONFPATH=/etc/cni/net.d CNI_IFNAME=eth0 "CAP_ARGS=${capabilities:-}" "$@"; }
tool() { cni /opt/e2e/cnitool/cnitool "$1" "$2" "/run/netns/$3"; }
id() { echo "cnitool-$(printf %s "/run/netns/$1" | sha512sum | head -c 20)"; }
inside() { on nsenter "--net=/run/netns/$1" chroot /opt/e2e/image/root "${@:2}"; }
end() { on sh -c "kill \$(ip netns pids $1) 2>/dev/null; ip netns del $1"; }
