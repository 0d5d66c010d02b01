// What somebody may do to the overlay of node a, a line each. e6:64:13:21:c6:3b is the MAC address of node b in the overlay.

export const DAMAGES = `
ip link del podwire.1
ip link set podwire.1 down
ip link set podwire.1 mtu 1300
ip link set podwire.1 address 02:00:00:00:00:99
ip link set podwire.1 type vxlan learning
ip link del podwire.1; ip link add podwire.1 type vxlan id 7 dstport 8472 dev u0
ip link del podwire.1; ip link add podwire.1 type bridge
ip route flush proto 119; ip -6 route flush proto 119
ip route replace 10.244.2.0/24 via 192.0.2.254 dev u0 proto 119
ip -6 route replace fd00:10:244:2::/64 via 2001:db8::fe dev u0 proto 119
ip route add 198.51.100.0/24 via 192.0.2.254 dev u0 proto 119 metric 7
ip neigh flush dev podwire.1 nud permanent
ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:99 dev podwire.1 nud permanent
ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:99 dev podwire.1 nud noarp
bridge fdb replace e6:64:13:21:c6:3b dev podwire.1 dst 192.0.2.99 self permanent
bridge fdb append 02:00:00:00:00:99 dev podwire.1 dst 192.0.2.99 self
ip addr flush dev podwire.1
ip addr add 10.244.1.9/24 dev podwire.1
nft flush ruleset
nft flush chain inet podwire overlay
nft add rule inet podwire overlay accept
nft flush set inet podwire cluster_ip
nft add element inet podwire cluster_ip6 '{ fd00:99::/64 }'
sysctl -qw net.ipv4.ip_forward=0
`.trim().split('\n')
