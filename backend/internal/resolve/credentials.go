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

// serviceAccountDir is the directory where Kubernetes mounts the ServiceAccount of a pod.
const serviceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// transports hold the credentials and the TLS configuration for each destination.
type transports struct {
	// own is for the configured URLs of the gateway's own tiers.
	own          map[tier.Name]*upstream.TransportConfig
	destinations []upstream.Destination
	// discovered is for the discovered Services of the gateway's own tiers.
	discovered map[tier.Name]discoveredTransport
	// services is for other Services that datasources name. It never has a credential.
	services *upstream.TransportConfig
	// perses is for requests with the caller's credential. persesService has the gateway's
	// own credential, or is nil.
	perses, persesService http.RoundTripper

	unverified []string // keys with insecure_skip_verify
}

// discoveredTransport is for a discovered Service of the gateway's own tier. tierproxy uses
// withoutToken over plain HTTP, because others could read the token of the ServiceAccount.
type discoveredTransport struct{ withToken, withoutToken *upstream.TransportConfig }

func newDiscoveredTransport(config config.Config, own *config.HTTPConfig, reloads *upstream.Reloads) (discoveredTransport, error) {
	options := upstream.TransportOptions{HTTP: own.ClientConfig(), Authorities: authorities(config, ".svc"), Reloads: reloads}
	withoutToken, err := upstream.NewTransportConfig(options)
	if err != nil {
		return discoveredTransport{}, err
	}
	options.TokenFile = config.ServiceAccount.TokenPath
	withToken, err := upstream.NewTransportConfig(options)
	return discoveredTransport{withToken: withToken, withoutToken: withoutToken}, err
}

// over returns the transport configuration for a scheme.
func (d discoveredTransport) over(scheme string) *upstream.TransportConfig {
	if scheme != "https" || !d.withToken.SendsToken() {
		return d.withoutToken
	}
	return d.withToken
}

// newTransports returns the transports of the configuration. reloads counts reloads of their
// files. newTransports returns an error if it cannot read a file.
func newTransports(settings config.Config, reloads *upstream.Reloads) (*transports, error) {
	result := &transports{own: map[tier.Name]*upstream.TransportConfig{}, discovered: map[tier.Name]discoveredTransport{}}
	note := func(key string, access *upstream.TransportConfig) {
		if access.SkipsVerification() {
			result.unverified = append(result.unverified, key)
		}
	}
	var err error
	for name, own := range map[tier.Name]struct {
		url  string
		http *config.HTTPConfig
	}{tier.Hot: {settings.Hot.URL, settings.Hot.HTTPConfig}, tier.Cold: {settings.Cold.URL, settings.Cold.HTTPConfig}} {
		base, parseError := url.Parse(own.url)
		if parseError != nil {
			continue // Validate reports it.
		}
		options := upstream.TransportOptions{HTTP: own.http.ClientConfig(), Authorities: authorities(settings, base.Hostname()), Reloads: reloads}
		if base.Scheme == "https" && inCluster(base.Hostname()) {
			options.TokenFile = settings.ServiceAccount.TokenPath
		}
		if result.own[name], err = upstream.NewTransportConfig(options); err != nil {
			return nil, fmt.Errorf("%s.http_config: %w", name, err)
		}
		if result.discovered[name], err = newDiscoveredTransport(settings, own.http, reloads); err != nil {
			return nil, fmt.Errorf("%s.http_config: %w", name, err)
		}
	}
	for _, name := range tier.Names() {
		note(string(name), result.own[name])
	}
	for i, destination := range settings.Destinations {
		access, err := upstream.NewTransportConfig(upstream.TransportOptions{HTTP: destination.HTTPConfig.ClientConfig(), Authorities: authorities(settings, destination.Host), Reloads: reloads})
		if err != nil {
			return nil, fmt.Errorf("destinations[%d].http_config: %w", i, err)
		}
		note(fmt.Sprintf("destinations[%d]", i), access)
		result.destinations = append(result.destinations, upstream.Destination{
			Host: destination.Host, Port: destination.Port, Scheme: destination.Scheme, PathPrefix: destination.PathPrefix, Transport: access, Tenant: destination.Tenant,
		})
	}
	if result.services, err = upstream.NewTransportConfig(upstream.TransportOptions{Authorities: authorities(settings, ".svc"), Reloads: reloads}); err != nil {
		return nil, fmt.Errorf("service_account: %w", err)
	}
	plain := promconfig.HTTPClientConfig{EnableHTTP2: true, TLSConfig: promconfig.TLSConfig{CAFile: settings.Perses.CAFile}}
	if _, result.perses, err = persesTransport(plain, reloads); err != nil {
		return nil, fmt.Errorf("perses.ca_file: %w", err)
	}
	if settings.Perses.Service.HTTPConfig == nil {
		return result, nil
	}
	service := settings.Perses.Service.HTTPConfig.HTTPClientConfig
	if service.TLSConfig.CAFile == "" && service.TLSConfig.CA == "" {
		service.TLSConfig.CAFile = settings.Perses.CAFile
	}
	var access *upstream.TransportConfig
	if access, result.persesService, err = persesTransport(service, reloads); err != nil {
		return nil, fmt.Errorf("perses.service.http_config: %w", err)
	}
	note("perses.service", access)
	return result, nil
}

// persesTransport returns the transport for requests to Perses. It reloads changed files.
func persesTransport(config promconfig.HTTPClientConfig, reloads *upstream.Reloads) (*upstream.TransportConfig, http.RoundTripper, error) {
	access, err := upstream.NewTransportConfig(upstream.TransportOptions{HTTP: &config, Reloads: reloads})
	if err != nil {
		return nil, nil, err
	}
	transport, err := access.RoundTripper(func(config *tls.Config) *http.Transport {
		return &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second}
	})
	return access, transport, err
}

// inCluster reports whether host is a cluster DNS name of a Service.
func inCluster(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return strings.HasSuffix(host, ".svc") || strings.HasSuffix(host, ".svc.cluster.local")
}

// authorities returns the files with the CA certificates of the cluster if host is in the
// cluster: the service CA of OpenShift, and the CA of the API server.
func authorities(config config.Config, host string) []string {
	if !inCluster(host) {
		return nil
	}
	directories := []string{serviceAccountDir}
	if tokenDir := filepath.Dir(config.ServiceAccount.TokenPath); config.ServiceAccount.TokenPath != "" && tokenDir != serviceAccountDir {
		directories = append(directories, tokenDir)
	}
	var files []string
	for _, directory := range directories {
		files = append(files, filepath.Join(directory, "service-ca.crt"), filepath.Join(directory, "ca.crt"))
	}
	return files
}

// warn logs which destinations have no certificate verification.
func (a *transports) warn(logger logrus.FieldLogger) {
	for _, key := range a.unverified {
		logger.Warnf("THE TLS CERTIFICATE OF %s IS NOT VERIFIED: insecure_skip_verify is for development only. Anyone on the network path can read and change the answers, and steal the credential", key)
	}
}

// announce logs which tiers get the token of the ServiceAccount: configured tiers, and tiers
// that discovery looks for.
func (a *transports) announce(logger logrus.FieldLogger, config config.Config, isDiscovered func(tier.Name) bool) {
	var receivers []string
	for _, name := range tier.Names() {
		if a.own[name].SendsToken() || (isDiscovered(name) && a.discovered[name].withToken.SendsToken()) {
			receivers = append(receivers, "the "+string(name)+" tier")
		}
	}
	if len(receivers) == 0 {
		return
	}
	path := config.ServiceAccount.TokenPath
	if _, err := os.Stat(path); err != nil {
		logger.Warnf("tierproxy cannot read the ServiceAccount token %[2]s (service_account.token_path) for %[1]s: it sends no token until it can", strings.Join(receivers, ", "), path)
		return
	}
	logger.Infof("tierproxy sends the ServiceAccount token %s, over TLS only, to %s", path, strings.Join(receivers, ", "))
}
