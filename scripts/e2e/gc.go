// gc NETWORK CONTAINERID/IFNAME...: sends GC with these attachments as the ones that live, as CRI-O does; cnitool's own
// gc names none. NETCONFPATH and CNI_PATH as in cnitool.
package main

import (
	"context"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

func main() {
	network, err := libcni.LoadNetworkConf(os.Getenv("NETCONFPATH"), os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var args libcni.GCArgs
	for _, living := range os.Args[2:] {
		id, ifname, _ := strings.Cut(living, "/")
		args.ValidAttachments = append(args.ValidAttachments, types.GCAttachment{ContainerID: id, IfName: ifname})
	}
	cni := libcni.NewCNIConfig(filepath.SplitList(os.Getenv("CNI_PATH")), nil)
	if err := cni.GCNetworkList(context.Background(), network, &args); err != nil {
		log.Fatal(err)
	}
}
