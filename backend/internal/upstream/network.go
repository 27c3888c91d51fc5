package upstream

import (
	"context"
	"net"
	"time"
)

// Network stands for the network between the gateway and the tiers where the
// addresses of a cluster do not exist. For tests only: nothing that a user can
// write makes one.
type Network struct {
	// Dial connects to an address, a host or IP address and a port, in the
	// way of net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// dialer returns how the client connects.
func dialer(options ClientOptions) func(ctx context.Context, network, address string) (net.Conn, error) {
	dial := (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Control: options.Guard.control}).DialContext
	if options.Network != nil {
		dial = options.Network.Dial
	}
	if options.Address == "" {
		return dial
	}
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dial(ctx, network, options.Address)
	}
}
