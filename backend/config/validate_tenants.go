package config

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	promconfig "github.com/prometheus/common/config"
)

// maxTenantHeaders is the maximum number of tenant_headers.
const maxTenantHeaders = 16

// headerName matches the name of a header.
var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$")

// builtInTenantHeaders select the tenant whatever the configuration says.
var builtInTenantHeaders = []string{"X-Scope-Orgid", "Thanos-Tenant"}

// otherHeaders have a meaning of their own, to HTTP, to Perses or to tierproxy. Prometheus' reserved
// headers are more of them. Those that end in a hyphen are prefixes.
var otherHeaders = []string{
	"Accept", "Accept-", "Baggage", "Cache-Control", "Content-", "Cookie", "Date", "Expect", "Forwarded", "Idempotency-Key", "If-", "Impersonate-", "Last-Event-Id", "Origin",
	"Proxy-", "Range", "Referer", "Sec-", "Set-Cookie", "Te", "Traceparent", "Tracestate", "Trailer", "Transfer-Encoding", "Upgrade", "Via", "X-Forwarded-", "X-Real-Ip", "X-Tier", "X-Tier-",
}

func (c *Config) validateTenantHeaders(m *mistakes) {
	m.addIf(len(c.TenantHeaders) > maxTenantHeaders, "tenant_headers", "lists %d headers, and must list at most %d", len(c.TenantHeaders), maxTenantHeaders)
	seen := map[string]bool{}
	for i, name := range c.TenantHeaders {
		key, canonical := fmt.Sprintf("tenant_headers[%d]", i), http.CanonicalHeaderKey(name)
		_, isReserved := promconfig.ReservedHeaders[canonical]
		switch {
		case !headerName.MatchString(name):
			m.addIf(true, key, "%q is not the name of a header, such as X-Tenant", name)
		case slices.Contains(builtInTenantHeaders, canonical):
			m.addIf(true, key, "%s selects the tenant anyway: remove it from the list", name)
		case isReserved || isOtherHeader(canonical):
			m.addIf(true, key, "%s has another meaning, and cannot select a tenant: have the tier read it from another header", name)
		}
		m.addIf(seen[canonical], key, "%s is listed twice", name)
		seen[canonical] = true
	}
}

// isOtherHeader reports whether a header, in canonical form, is one of otherHeaders.
func isOtherHeader(canonical string) bool {
	return slices.ContainsFunc(otherHeaders, func(other string) bool {
		return canonical == other || (strings.HasSuffix(other, "-") && strings.HasPrefix(canonical, other))
	})
}
