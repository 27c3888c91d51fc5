package upstream

import (
	"context"
	"net"
	"time"
)

// Network replaces the network in tests, in which the addresses of a cluster do not exist.
type Network struct {
	// Dial connects to an address as net.Dialer does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// dialer returns the function that connects to a tier.
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
