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
	// Host is a host name, an IP address, or *. and a domain for all hosts below it.
	Host string
	// Port is the port; zero for every port.
	Port int
	// Scheme is http or https. Empty: both, but secrets only go over https.
	Scheme string
	// PathPrefix is a path. The path of a URL must be equal to it or below it, by whole
	// segments. Empty or "/": every path.
	PathPrefix string
	// Transport has the credential and the TLS settings for the host; nil for none.
	Transport *TransportConfig
	// Tenant is the tenant of the data; empty if it is unknown.
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

func sameHost(one, other string) bool {
	first, firstError := netip.ParseAddr(one)
	second, secondError := netip.ParseAddr(other)
	if firstError == nil && secondError == nil {
		return first.Unmap() == second.Unmap()
	}
	return normalHost(one) == normalHost(other)
}

func normalHost(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// Guard checks the address of every connection to a destination that a datasource names, because
// a host name can resolve to an address that only the operator may name. The zero Guard allows
// every address. It is comparable.
type Guard struct {
	enforced bool
	named    netip.Addr // the address that the operator named, if any
	loopback bool       // the operator named localhost
}

// DeniedError is returned for a destination that the operator does not allow.
type DeniedError struct {
	// Destination is the host, port and path that the datasource names.
	Destination string
	// Resolved is set if the host is allowed, but resolves to an address that is not.
	Resolved bool
	// Ambiguous is set if servers could read the URL differently.
	Ambiguous bool
}

// Error says what is not allowed. It does not contain the resolved address.
func (e *DeniedError) Error() string {
	if e.Resolved {
		return "the host leads to a loopback, link-local or metadata address, which only the gateway's configuration may name"
	}
	if e.Ambiguous {
		return "the path of the URL has an empty, '.' or '..' segment, or characters that servers read differently: write it plainly"
	}
	return fmt.Sprintf("the gateway's destinations do not include %s", e.Destination)
}

// Permission is the permission to connect to a URL that a datasource names.
type Permission struct {
	// Guard checks every connection.
	Guard Guard
	// Transport has the credential and the TLS settings; nil for none.
	Transport *TransportConfig
	// Tenant is the tenant of the data; empty if it is unknown.
	Tenant string
}

// Allow returns the permission for a URL that a datasource names, from the first destination
// with its scheme, host, port and path. It returns a *DeniedError if there is none, and the
// errors of CheckPath.
func Allow(destinations []Destination, target *url.URL) (Permission, error) {
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
		permission := Permission{Guard: guard, Transport: destination.Transport, Tenant: destination.Tenant}
		if destination.Scheme == "" && target.Scheme != "https" && destination.Transport.HoldsSecrets(target.Scheme) {
			permission.Transport = nil
		}
		return permission, nil
	}
	return Permission{}, &DeniedError{Destination: net.JoinHostPort(normalHost(target.Hostname()), strconv.Itoa(portOf(target))) + strings.TrimSuffix(target.Path, "/")}
}

// CheckPath returns a *DeniedError for a URL with a user, parameters or a fragment, or with a
// path that servers read differently: some merge empty segments.
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

// UnderPath reports whether a path is equal to a prefix or below it. It compares whole segments:
// /select/01 is not below /select/0. Every path is below an empty prefix. Both are decoded paths
// that CheckPath accepts.
func UnderPath(prefix, path string) bool {
	prefix, path = strings.TrimSuffix(prefix, "/"), strings.TrimSuffix(path, "/")
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// SameServer reports whether two URLs have the same host and port, in any notation.
func SameServer(one, other *url.URL) bool {
	return sameHost(one.Hostname(), other.Hostname()) && SamePort(one, other)
}

// SamePort reports whether two URLs have the same port, explicitly or by default.
func SamePort(one, other *url.URL) bool { return portOf(one) == portOf(other) }

// portOf returns the port of a URL, or the default of its scheme.
func portOf(target *url.URL) int {
	if port, err := strconv.Atoi(target.Port()); err == nil {
		return port
	}
	if target.Scheme == "https" {
		return 443
	}
	return 80
}

// reservedRanges are addresses that no datasource may reach, besides those of reserved: the metadata
// services of clouds that have no link-local address, the broadcast address, 0.0.0.0/8, which
// means this host to some systems, and the predecessor of fc00::/7.
var reservedRanges = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("fec0::/10"),
	netip.MustParsePrefix("100.100.100.200/32"), netip.MustParsePrefix("192.0.0.192/32"), netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("fd00:ec2::254/128"), netip.MustParsePrefix("fd00:ec2::23/128"), netip.MustParsePrefix("fd20:ce::254/128"),
}

// carriers are the IPv6 prefixes whose addresses contain an IPv4 address that they lead to: its
// first byte, and whether its bits are inverted.
var carriers = []struct {
	prefix   netip.Prefix
	at       int
	inverted bool
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12, false},   // NAT64
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12, false}, // local NAT64
	{netip.MustParsePrefix("::/96"), 12, false},          // IPv4-compatible
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12, false},
	{netip.MustParsePrefix("2002::/16"), 2, false}, // 6to4
	{netip.MustParsePrefix("2001::/32"), 12, true}, // Teredo
	{netip.MustParsePrefix("2001::/32"), 4, false}, // Teredo's server
}

// reserved reports whether no datasource may connect to an address.
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
		// ISATAP has it behind 5efe, below any prefix.
		if bytes[8]&^2 == 0 && bytes[9] == 0 && bytes[10] == 0x5e && bytes[11] == 0xfe && reserved(netip.AddrFrom4([4]byte(bytes[12:16]))) {
			return true
		}
	}
	return address.IsLoopback() || address.IsLinkLocalUnicast() || address.IsUnspecified() || address.IsMulticast() ||
		slices.ContainsFunc(reservedRanges, func(prefix netip.Prefix) bool { return prefix.Contains(address) })
}

// control is called with the resolved address before each connection, so that a second lookup
// cannot lead elsewhere.
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
