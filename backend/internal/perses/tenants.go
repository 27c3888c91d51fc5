package perses

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// IsTenantHeader reports whether a header selects the tenant at a tier, whatever the configuration
// says. The CUE model, the form and the SDKs know these headers, too.
func IsTenantHeader(name string) bool {
	return strings.EqualFold(name, "X-Scope-OrgID") || strings.EqualFold(name, "THANOS-TENANT")
}

// TenantHeaders are the names of further headers that select the tenant at a tier, which the
// operator configures. Nil is valid.
type TenantHeaders []string

// Contains reports whether a header is one of them, and not one of IsTenantHeader.
func (t TenantHeaders) Contains(name string) bool {
	return !IsTenantHeader(name) && slices.ContainsFunc(t, func(further string) bool { return strings.EqualFold(name, further) })
}

// Of returns the headers of a spec that select the tenant. They come from a saved datasource, never
// from a request.
func (t TenantHeaders) Of(spec *Spec) http.Header {
	header := make(http.Header)
	for name, value := range spec.Proxy.Spec.Headers {
		if IsTenantHeader(name) || t.Contains(name) {
			header.Set(name, value)
		}
	}
	return header
}

// check returns the mistakes in the tenant headers of a spec that the rules of the CUE model do not
// find: variables in the configured ones, and a header that is written in two ways.
func (t TenantHeaders) check(path string, headers map[string]string) SpecErrors {
	mistakes := variablesInTenants(path, headers, t.Contains)
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if !IsTenantHeader(name) && !t.Contains(name) {
			continue
		}
		key := http.CanonicalHeaderKey(name)
		if other, isTwice := seen[key]; isTwice {
			mistakes = append(mistakes, SpecError{Field: fmt.Sprintf("%s.headers.%q", path, name), Message: fmt.Sprintf("is the same header as %q: remove one of them", other)})
		}
		seen[key] = name
	}
	return mistakes
}

// variablesInTenants returns a mistake for each tenant header that has a dashboard variable.
func variablesInTenants(path string, headers map[string]string, isTenant func(name string) bool) (mistakes SpecErrors) {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if isTenant(name) && strings.Contains(headers[name], "$") {
			mistakes = append(mistakes, SpecError{
				Field: fmt.Sprintf("%s.headers.%q", path, name), Message: "must be the tenant itself, not a dashboard variable, whose value every user chooses",
			})
		}
	}
	return mistakes
}
