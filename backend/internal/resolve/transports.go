package resolve

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	promconfig "github.com/prometheus/common/config"
	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// serviceAccountDir is where Kubernetes puts what belongs to the ServiceAccount
// of a pod.
const serviceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// transports are what the gateway shows to each destination that the operator
// names.
type transports struct {
	own          map[tier.Name]*upstream.TransportConfig
	destinations []upstream.Destination
	// found is for the gateway's own tiers where discovery found them.
	found map[tier.Name]discoveredAccess
	// services is for other Services, which datasources name: it has no
	// credential, whoever names them.
	services *upstream.TransportConfig
	// perses carries what callers ask Perses; persesService the gateway's own
	// credential, and is nil where there is none.
	perses, persesService http.RoundTripper

	unverified []string // keys of those whose certificate nobody looks at
}

// discoveredAccess is for a tier of the gateway's own that was discovered: with
// the token of the ServiceAccount, and without it, where others could read it.
type discoveredAccess struct{ withToken, withoutToken *upstream.TransportConfig }

func newDiscoveredAccess(config config.Config, own *config.HTTPConfig, reloads *upstream.Reloads) (discoveredAccess, error) {
	options := upstream.TransportOptions{HTTP: own.ClientConfig(), Authorities: authorities(config, ".svc"), Reloads: reloads}
	withoutToken, err := upstream.NewTransportConfig(options)
	if err != nil {
		return discoveredAccess{}, err
	}
	options.TokenFile = config.ServiceAccount.TokenPath
	withToken, err := upstream.NewTransportConfig(options)
	return discoveredAccess{withToken: withToken, withoutToken: withoutToken}, err
}

// over returns what is shown over a scheme.
func (d discoveredAccess) over(scheme string) *upstream.TransportConfig {
	if scheme != "https" || !d.withToken.SendsToken() {
		return d.withoutToken
	}
	return d.withToken
}

// newTransports makes them all. reloads counts the changes of their files.
func newTransports(settings config.Config, reloads *upstream.Reloads) (*transports, error) {
	made := &transports{own: map[tier.Name]*upstream.TransportConfig{}, found: map[tier.Name]discoveredAccess{}}
	note := func(key string, access *upstream.TransportConfig) {
		if access.SkipsVerification() {
			made.unverified = append(made.unverified, key)
		}
	}
	var err error
	for name, own := range map[tier.Name]struct {
		url  string
		http *config.HTTPConfig
	}{tier.Hot: {settings.Hot.URL, settings.Hot.HTTPConfig}, tier.Cold: {settings.Cold.URL, settings.Cold.HTTPConfig}} {
		base, parseError := url.Parse(own.url)
		if parseError != nil {
			continue // Validate found it before.
		}
		options := upstream.TransportOptions{HTTP: own.http.ClientConfig(), Authorities: authorities(settings, base.Hostname()), Reloads: reloads}
		if base.Scheme == "https" && inCluster(base.Hostname()) {
			options.TokenFile = settings.ServiceAccount.TokenPath
		}
		if made.own[name], err = upstream.NewTransportConfig(options); err != nil {
			return nil, fmt.Errorf("%s.http_config: %w", name, err)
		}
		if made.found[name], err = newDiscoveredAccess(settings, own.http, reloads); err != nil {
			return nil, fmt.Errorf("%s.http_config: %w", name, err)
		}
	}
	for _, name := range tier.Names() {
		note(string(name), made.own[name])
	}
	for i, each := range settings.Destinations {
		access, err := upstream.NewTransportConfig(upstream.TransportOptions{HTTP: each.HTTPConfig.ClientConfig(), Authorities: authorities(settings, each.Host), Reloads: reloads})
		if err != nil {
			return nil, fmt.Errorf("destinations[%d].http_config: %w", i, err)
		}
		note(fmt.Sprintf("destinations[%d]", i), access)
		made.destinations = append(made.destinations, upstream.Destination{
			Host: each.Host, Port: each.Port, Scheme: each.Scheme, PathPrefix: each.PathPrefix, Transport: access, Tenant: each.Tenant,
		})
	}
	if made.services, err = upstream.NewTransportConfig(upstream.TransportOptions{Authorities: authorities(settings, ".svc"), Reloads: reloads}); err != nil {
		return nil, fmt.Errorf("service_account: %w", err)
	}
	plain := promconfig.HTTPClientConfig{EnableHTTP2: true, TLSConfig: promconfig.TLSConfig{CAFile: settings.Perses.CAFile}}
	if _, made.perses, err = persesCarrier(plain, reloads); err != nil {
		return nil, fmt.Errorf("perses.ca_file: %w", err)
	}
	if settings.Perses.Service.HTTPConfig == nil {
		return made, nil
	}
	service := settings.Perses.Service.HTTPConfig.HTTPClientConfig
	if service.TLSConfig.CAFile == "" && service.TLSConfig.CA == "" {
		service.TLSConfig.CAFile = settings.Perses.CAFile
	}
	var access *upstream.TransportConfig
	if access, made.persesService, err = persesCarrier(service, reloads); err != nil {
		return nil, fmt.Errorf("perses.service.http_config: %w", err)
	}
	note("perses.service", access)
	return made, nil
}

// persesCarrier returns what carries requests to Perses, and reads its files anew
// when they change.
func persesCarrier(config promconfig.HTTPClientConfig, reloads *upstream.Reloads) (*upstream.TransportConfig, http.RoundTripper, error) {
	access, err := upstream.NewTransportConfig(upstream.TransportOptions{HTTP: &config, Reloads: reloads})
	if err != nil {
		return nil, nil, err
	}
	carrier, err := access.RoundTripper(func(config *tls.Config) *http.Transport {
		return &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second}
	})
	return access, carrier, err
}

// inCluster tells whether a host name is one of a service in the cluster.
func inCluster(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return strings.HasSuffix(host, ".svc") || strings.HasSuffix(host, ".svc.cluster.local")
}

// authorities are those of the cluster, for hosts of it: the one that signs for
// services on OpenShift, and the one of the API server.
func authorities(config config.Config, host string) []string {
	if !inCluster(host) {
		return nil
	}
	directories := []string{serviceAccountDir}
	if own := filepath.Dir(config.ServiceAccount.TokenPath); config.ServiceAccount.TokenPath != "" && own != serviceAccountDir {
		directories = append(directories, own)
	}
	var files []string
	for _, directory := range directories {
		files = append(files, filepath.Join(directory, "service-ca.crt"), filepath.Join(directory, "ca.crt"))
	}
	return files
}

// warn says loudly whose certificate is not verified.
func (a *transports) warn(logger logrus.FieldLogger) {
	for _, key := range a.unverified {
		logger.Warnf("THE TLS CERTIFICATE OF %s IS NOT VERIFIED: insecure_skip_verify is for development only, anybody on the way can read and change the answers, and take the credential", key)
	}
}

// announce says to whom the token of the ServiceAccount goes: the tiers that are
// configured, and those that isDiscovered says are looked for.
func (a *transports) announce(logger logrus.FieldLogger, config config.Config, isDiscovered func(tier.Name) bool) {
	var receivers []string
	for _, name := range tier.Names() {
		if a.own[name].SendsToken() || (isDiscovered(name) && a.found[name].withToken.SendsToken()) {
			receivers = append(receivers, "the "+string(name)+" tier")
		}
	}
	if len(receivers) == 0 {
		return
	}
	path := config.ServiceAccount.TokenPath
	if _, err := os.Stat(path); err != nil {
		logger.Warnf("the ServiceAccount token (service_account.token_path) is for %s, but %s cannot be read: nothing is sent until it can", strings.Join(receivers, ", "), path)
		return
	}
	logger.Infof("the ServiceAccount token of %s goes, over TLS only, to %s", path, strings.Join(receivers, ", "))
}
