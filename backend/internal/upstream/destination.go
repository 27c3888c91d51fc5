package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
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
	// Scheme is http or https, or empty for both; then what holds secrets is
	// sent over https alone.
	Scheme string
	// PathPrefix is the path that a URL has to be at or below, compared segment
	// by segment. Empty or "/": every path.
	PathPrefix string
	// Transport is what the gateway shows there; nil means nothing.
	Transport *TransportConfig
	// Tenant is the tenant whose data is there; empty where it is not known.
	Tenant string
}

func (d Destination) matches(target *url.URL) bool {
	scheme, host, port := target.Scheme, normalHost(target.Hostname()), portOf(target)
	if (d.Port != 0 && d.Port != port) || (d.Scheme != "" && d.Scheme != scheme) || !UnderPath(d.PathPrefix, target.Path) {
		return false
	}
	if domain, isPattern := strings.CutPrefix(d.Host, "*"); isPattern {
		return len(host) > len(domain) && strings.HasSuffix(host, strings.ToLower(domain))
	}
	return sameHost(d.Host, host)
}

// transportOver returns what the gateway shows over a scheme.
func (d Destination) transportOver(scheme string) *TransportConfig {
	if d.Scheme == "" && scheme != "https" && d.Transport.HoldsSecrets(scheme) {
		return nil
	}
	return d.Transport
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

// Guard checks the address of every connection to a destination that a datasource
// names: a host name can resolve to an address that only the operator may name. The
// zero Guard lets every address pass. It is comparable.
type Guard struct {
	enforced bool
	// named is the address that the operator named, if it is one.
	named netip.Addr
	// loopback is set when the operator named localhost.
	loopback bool
}

// DeniedError is returned for a destination that the operator did not allow.
type DeniedError struct {
	// Destination is what the datasource names: host, port and path.
	Destination string
	// Resolved is set when the host is allowed but led to an address that is
	// not.
	Resolved bool
	// Ambiguous is set when the URL could be read in two ways.
	Ambiguous bool
}

// Error says what is not allowed. It does not name the address that a host
// name resolved to.
func (e *DeniedError) Error() string {
	if e.Resolved {
		return "the host leads to a loopback, link-local or metadata address, which only the gateway's configuration may name"
	}
	if e.Ambiguous {
		return "the path of the URL has an empty, '.' or '..' segment, or characters that servers read differently: write it plainly"
	}
	return fmt.Sprintf("the gateway's destinations do not include %s", e.Destination)
}

// Permission is what holds for connections to a URL that a datasource names.
type Permission struct {
	// Guard holds for every connection.
	Guard Guard
	// Transport is what the gateway may show there; nil means nothing.
	Transport *TransportConfig
	// Tenant is the tenant whose data is there; empty where it is not known.
	Tenant string
}

// Allow returns the permission for a URL that a datasource names. It takes the first
// destination that includes scheme, host, port and path. It returns a *DeniedError if
// there is none, or if the URL could be read in two ways.
func Allow(destinations []Destination, target *url.URL) (Permission, error) {
	denied := &DeniedError{Destination: net.JoinHostPort(normalHost(target.Hostname()), strconv.Itoa(portOf(target))) + strings.TrimSuffix(target.Path, "/")}
	if err := CheckPath(target); err != nil {
		return Permission{}, err
	}
	for _, destination := range destinations {
		if !destination.matches(target) {
			continue
		}
		guard := Guard{enforced: true, loopback: normalHost(destination.Host) == "localhost"}
		if address, err := netip.ParseAddr(destination.Host); err == nil {
			guard.named = address.Unmap()
		}
		return Permission{Guard: guard, Transport: destination.transportOver(target.Scheme), Tenant: destination.Tenant}, nil
	}
	return Permission{}, denied
}

// CheckPath returns a *DeniedError for a URL whose path two servers could read
// differently (some merge empty segments), or that has a user, parameters or a
// fragment.
func CheckPath(target *url.URL) error {
	denied := &DeniedError{Destination: target.Host, Ambiguous: true}
	if target.User != nil || target.RawQuery != "" || target.Fragment != "" || target.Opaque != "" ||
		strings.ContainsAny(target.Path, "%\\\x00?#;") || strings.Contains(target.Path, "//") || strings.Count(target.EscapedPath(), "/") != strings.Count(target.Path, "/") {
		return denied
	}
	for segment := range strings.SplitSeq(target.Path, "/") {
		if segment == "." || segment == ".." {
			return denied
		}
	}
	return nil
}

// UnderPath reports whether a path is the prefix or lies below it. Whole
// segments count: /select/0 is not above /select/01. An empty prefix is above
// every path. Both are decoded paths that CheckPath accepts.
func UnderPath(prefix, path string) bool {
	prefix, path = strings.TrimSuffix(prefix, "/"), strings.TrimSuffix(path, "/")
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// SameServer reports whether two URLs lead to the same host and port, however
// they are written.
func SameServer(one, other *url.URL) bool {
	return sameHost(one.Hostname(), other.Hostname()) && SamePort(one, other)
}

// SamePort reports whether two URLs lead to the same port, written or not.
func SamePort(one, other *url.URL) bool { return portOf(one) == portOf(other) }

// portOf returns the port of a URL; the default of its scheme if it names none.
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
	netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("192.0.0.192"), netip.MustParseAddr("168.63.129.16"),
	netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd00:ec2::23"), netip.MustParseAddr("fd20:ce::254"),
}

// carriers are the prefixes of IPv6 whose addresses carry an IPv4 address, and
// so lead to it: at which byte, and whether its bits are turned over.
var carriers = []struct {
	prefix   netip.Prefix
	at       int
	inverted bool
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12, false},   // NAT64
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12, false}, // NAT64 of a network's own
	{netip.MustParsePrefix("::/96"), 12, false},          // the oldest form
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12, false},
	{netip.MustParsePrefix("2002::/16"), 2, false}, // 6to4
	{netip.MustParsePrefix("2001::/32"), 12, true}, // Teredo
	{netip.MustParsePrefix("2001::/32"), 4, false}, // and its server
}

// siteLocal is what IPv6 had before fc00::/7.
var siteLocal = netip.MustParsePrefix("fec0::/10")

// reserved reports whether no datasource may lead to an address.
func reserved(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	if address.Is6() {
		bytes := address.As16()
		for _, carrier := range carriers {
			inner := [4]byte(bytes[carrier.at : carrier.at+4])
			if carrier.inverted {
				for i := range inner {
					inner[i] = ^inner[i]
				}
			}
			if carrier.prefix.Contains(address) && reserved(netip.AddrFrom4(inner)) {
				return true
			}
		}
		// ISATAP carries it behind 5efe, below any prefix.
		if bytes[8]&^2 == 0 && bytes[9] == 0 && bytes[10] == 0x5e && bytes[11] == 0xfe && reserved(netip.AddrFrom4([4]byte(bytes[12:16]))) {
			return true
		}
		if siteLocal.Contains(address) {
			return true
		}
	}
	// 0.0.0.0/8 is "this host" to some systems, and 255.255.255.255 a broadcast.
	if address.Is4() && (address.As4()[0] == 0 || address.As4() == [4]byte{255, 255, 255, 255}) {
		return true
	}
	if address.IsLoopback() || address.IsLinkLocalUnicast() || address.IsUnspecified() || address.IsMulticast() {
		return true
	}
	return slices.Contains(metadata, address)
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
