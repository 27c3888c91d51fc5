package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
)

// Destination is a host that the operator allows datasources to name.
type Destination struct {
	// Host is a host name, an IP address, or *. and a domain for all hosts
	// below it.
	Host string
	// Port is the port; zero means every port.
	Port int
}

// Validate returns an error that says what to change when the destination can
// never match.
func (d Destination) Validate() error {
	name := strings.TrimPrefix(d.Host, "*.")
	if _, err := netip.ParseAddr(d.Host); err != nil && (name == "" || strings.ContainsAny(name, "*/:@ []?#%\\")) {
		return fmt.Errorf("%q is not a host: write a host name, an IP address without brackets, or *.DOMAIN", d.Host)
	}
	if d.Port < 0 || d.Port > 65535 {
		return fmt.Errorf("the port %d is not one from 1 to 65535, or 0 for every port", d.Port)
	}
	return nil
}

func (d Destination) matches(host string, port int) bool {
	if d.Port != 0 && d.Port != port {
		return false
	}
	if domain, isPattern := strings.CutPrefix(d.Host, "*"); isPattern {
		return len(host) > len(domain) && strings.HasSuffix(host, strings.ToLower(domain))
	}
	return sameHost(d.Host, host)
}

func sameHost(one, other string) bool {
	first, firstError := netip.ParseAddr(one)
	second, secondError := netip.ParseAddr(other)
	if firstError == nil && secondError == nil {
		return first.Unmap() == second.Unmap()
	}
	return normalHost(one) == normalHost(other)
}

func normalHost(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// Guard keeps connections to a destination that a datasource named away from
// addresses that nobody but the operator may name: a host name can resolve to
// anything. The zero Guard lets every address pass. It is comparable.
type Guard struct {
	enforced bool
	// named is the address that the operator named, if it is one.
	named netip.Addr
	// loopback is set when the operator named localhost.
	loopback bool
}

// DeniedError is returned for a destination that the operator did not allow.
type DeniedError struct {
	// Destination is what the datasource names, host and port.
	Destination string
	// Resolved is set when the host is allowed but led to an address that is
	// not.
	Resolved bool
}

// Error says what is not allowed. It does not name the address that a host
// name resolved to.
func (e *DeniedError) Error() string {
	if e.Resolved {
		return "the host leads to a loopback, link-local or metadata address, which only the gateway's configuration may name"
	}
	return fmt.Sprintf("the gateway's destinations do not include %s", e.Destination)
}

// Allow returns the guard for connections to a URL that a datasource names, or
// a *DeniedError when the operator's destinations do not include its host and
// port.
func Allow(destinations []Destination, target *url.URL) (Guard, error) {
	host := normalHost(target.Hostname())
	port := portOf(target)
	for _, destination := range destinations {
		if !destination.matches(host, port) {
			continue
		}
		guard := Guard{enforced: true, loopback: normalHost(destination.Host) == "localhost"}
		if address, err := netip.ParseAddr(destination.Host); err == nil {
			guard.named = address.Unmap()
		}
		return guard, nil
	}
	return Guard{}, &DeniedError{Destination: net.JoinHostPort(host, strconv.Itoa(port))}
}

// portOf returns the port of a URL, that of its scheme where it names none.
func portOf(target *url.URL) int {
	if port, err := strconv.Atoi(target.Port()); err == nil {
		return port
	}
	if target.Scheme == "https" {
		return 443
	}
	return 80
}

// metadata are addresses at which clouds tell their machines secrets and that
// are no link-local ones.
var metadata = []netip.Addr{
	netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("192.0.0.192"), netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("168.63.129.16"),
}

// translated are the prefixes of IPv6 that carry an IPv4 address in their last
// 32 bits, and so lead to it.
var translated = []netip.Prefix{netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("::/96")}

// sixToFour carries an IPv4 address in its bits 16 to 48.
var sixToFour = netip.MustParsePrefix("2002::/16")

// reserved tells whether an address is one that no datasource may lead to.
func reserved(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	if address.Is6() {
		bytes := address.As16()
		for _, prefix := range translated {
			if prefix.Contains(address) && reserved(netip.AddrFrom4([4]byte(bytes[12:16]))) {
				return true
			}
		}
		if sixToFour.Contains(address) && reserved(netip.AddrFrom4([4]byte(bytes[2:6]))) {
			return true
		}
	}
	if address.IsLoopback() || address.IsLinkLocalUnicast() || address.IsUnspecified() || address.IsMulticast() {
		return true
	}
	// 0.0.0.0/8 is "this host" to some systems.
	if address.Is4() && address.As4()[0] == 0 {
		return true
	}
	for _, each := range metadata {
		if address == each {
			return true
		}
	}
	return false
}

// control is called with the resolved address before each connection is made,
// so that neither the resolver nor a second lookup can lead elsewhere.
func (g Guard) control(_, address string, _ syscall.RawConn) error {
	if !g.enforced {
		return nil
	}
	resolved, err := netip.ParseAddrPort(address)
	if err != nil {
		return errors.New("the address to connect to cannot be read")
	}
	ip := resolved.Addr().Unmap()
	if !reserved(ip) || ip == g.named || (g.loopback && ip.IsLoopback()) {
		return nil
	}
	return &DeniedError{Resolved: true}
}
