package resolve

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	promconfig "github.com/prometheus/common/config"
	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// serviceAccountDir is the directory where Kubernetes mounts the ServiceAccount of a pod.
const serviceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// transports hold the credentials and the TLS configuration for each destination.
type transports struct {
	// configured is for the URLs of the gateway's own tiers, and discovered for their
	// discovered Services, by their keys in the configuration: see ownTier.
	configured, discovered map[string]*upstream.TransportConfig
	destinations           []upstream.Destination
	// services is for other Services that datasources name. It never has a credential.
	services *upstream.TransportConfig
	// perses is for requests with the caller's credential. persesService has the gateway's
	// own credential, or is nil.
	perses, persesService http.RoundTripper

	unverified []string // keys with insecure_skip_verify
}

// newTransports returns the transports of the configuration. reloads counts reloads of their
// files. newTransports returns the errors of all files that it cannot read, joined.
func newTransports(settings config.Config, reloads *upstream.Reloads) (*transports, error) {
	result := &transports{configured: map[string]*upstream.TransportConfig{}, discovered: map[string]*upstream.TransportConfig{}}
	var failures []error
	add := func(key, host, tokenFile string, http *promconfig.HTTPClientConfig) *upstream.TransportConfig {
		made, err := upstream.NewTransportConfig(upstream.TransportOptions{HTTP: http, TokenFile: tokenFile, Authorities: authorities(settings, host), Reloads: reloads})
		isKnown := func(other error) bool { return strings.HasPrefix(other.Error(), key+": ") } // A tier has two transports.
		if err != nil && !slices.ContainsFunc(failures, isKnown) {
			failures = append(failures, fmt.Errorf("%s: %w", key, err))
		}
		if key = strings.TrimSuffix(key, ".http_config"); made.SkipsVerification() && !slices.Contains(result.unverified, key) {
			result.unverified = append(result.unverified, key)
		}
		return made
	}
	own := func(key, address string, http *promconfig.HTTPClientConfig) {
		base, err := url.Parse(address)
		if err != nil {
			return // Validate reports it.
		}
		tokenFile := ""
		if base.Scheme == "https" && inCluster(base.Hostname()) {
			tokenFile = settings.ServiceAccount.TokenPath
		}
		result.configured[key] = add(key+".http_config", base.Hostname(), tokenFile, http)
		result.discovered[key] = add(key+".http_config", ".svc", settings.ServiceAccount.TokenPath, http)
	}
	for i, entry := range settings.Hot.Entries() {
		own(hotKey(settings, i), entry.URL, entry.HTTPConfig.ClientConfig())
	}
	own("cold", settings.Cold.URL, settings.Cold.HTTPConfig.ClientConfig())
	for i, destination := range settings.Destinations {
		result.destinations = append(result.destinations, upstream.Destination{
			Host: destination.Host, Port: destination.Port, Scheme: destination.Scheme, PathPrefix: destination.PathPrefix, Tenant: destination.Tenant,
			Transport: add(fmt.Sprintf("destinations[%d].http_config", i), destination.Host, "", destination.HTTPConfig.ClientConfig()),
		})
	}
	result.services = add("service_account", ".svc", "", nil)
	callers := add("perses.ca_file", "", "", &promconfig.HTTPClientConfig{EnableHTTP2: true, TLSConfig: promconfig.TLSConfig{CAFile: settings.Perses.CAFile}})
	var service *upstream.TransportConfig
	if settings.Perses.Service.HTTPConfig != nil {
		http := settings.Perses.Service.HTTPConfig.HTTPClientConfig
		if http.TLSConfig.CAFile == "" && http.TLSConfig.CA == "" {
			http.TLSConfig.CAFile = settings.Perses.CAFile
		}
		service = add("perses.service.http_config", "", "", &http)
	}
	if len(failures) > 0 {
		return nil, errors.Join(failures...)
	}
	var err error
	if result.perses, err = callers.RoundTripper(persesTransport); err == nil && service != nil {
		result.persesService, err = service.RoundTripper(persesTransport)
	}
	return result, err
}

// persesTransport returns the transport for requests to Perses.
func persesTransport(config *tls.Config) *http.Transport {
	return &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second}
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

// announceToken logs which tiers get the token of the ServiceAccount at a path: configured tiers,
// and tiers that discovery looks for.
func announceToken(logger logrus.FieldLogger, path string, tiers []ownTier, isDiscovered func(ownTier) bool) {
	var receivers []string
	for _, own := range tiers {
		if own.configured.Transport.SendsToken() || (isDiscovered(own) && own.discovered.SendsToken()) {
			receivers = append(receivers, "the "+own.key+" tier")
		}
	}
	if len(receivers) == 0 {
		return
	}
	if _, err := os.Stat(path); err != nil {
		logger.Warnf("tierproxy cannot read the ServiceAccount token %[2]s (service_account.token_path) for %[1]s: it sends no token until it can", strings.Join(receivers, ", "), path)
		return
	}
	logger.Infof("tierproxy sends the ServiceAccount token %s, over TLS only, to %s", path, strings.Join(receivers, ", "))
}
