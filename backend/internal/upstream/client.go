// Package upstream makes one HTTP call to one server: the transport with its pooled connections,
// the credentials and TLS settings for it, the destinations that datasources may name, and the
// classes of its failures. It does not know tiers. Of this project it imports promapi and
// tracing only.
package upstream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tracing"
)

const (
	// idleTimeout is how long the client keeps an unused connection by default.
	idleTimeout = 90 * time.Second
	// dialTimeout is the timeout of a connection attempt. Without it, a host that drops packets
	// would use up the time of the other tier.
	dialTimeout = 5 * time.Second
	// maxProbeBytes is the default maximum size of an answer to a probe. The list of blocks of
	// a Prometheus with years of data is much smaller.
	maxProbeBytes = 8 << 20
	// probeConnections is the number of connections for probes, so that they do not wait for
	// queries.
	probeConnections = 4
	// probeUserAgent is the User-Agent of probes, which distinguishes them in the log of a tier.
	probeUserAgent = "tierproxy (probe)"
)

// ErrTooLarge is returned for an answer to a probe that exceeds ProbeLimit.
var ErrTooLarge = errors.New("the answer is larger than the gateway reads")

// ClientOptions are the options of NewClient.
type ClientOptions struct {
	// URL is the base URL of the tier, to which /api/v1 is added.
	URL *url.URL
	// Transport holds the credential and the TLS settings; nil for none.
	Transport *TransportConfig
	// PoolSize is the maximum number of connections for queries, including idle ones. Probes
	// have some more.
	PoolSize int
	// IdleConnections is the number of unused connections to keep, and IdleTimeout how long.
	// Zero: PoolSize, and 90 seconds.
	IdleConnections int
	IdleTimeout     time.Duration
	// ProbeBytes is the maximum size of an answer to a probe. Zero: 8 MiB.
	ProbeBytes int64
	// HTTP2 allows HTTP/2 if the tier offers it. For most answers it is slower than
	// connections of HTTP/1.1 that are kept alive.
	HTTP2 bool
	// Header is added to every request: the tenant headers of a datasource. They replace headers of
	// Transport with these names.
	Header http.Header
	// Guard checks every connection.
	Guard Guard
	// Tenancy, if not nil, adds namespaces to the URL of every request.
	Tenancy *Tenancy
	// Address is the IP address and port of one server behind a Service. The name in the URL
	// is still used for the Host header and the certificate. Empty: the client resolves the URL.
	Address string
	// Network replaces the network in tests.
	Network *Network
}

// Network replaces the network in tests, in which the addresses of a cluster do not exist.
type Network struct {
	// Dial connects to an address as net.Dialer does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client calls one tier. It is safe for concurrent use.
type Client struct {
	base       *url.URL
	header     http.Header
	configured *TransportConfig
	tenancy    *Tenancy
	transport  http.RoundTripper
	probeBytes int64
	recognised atomic.Pointer[recognition]
}

// NewClient returns a client for a tier, without connecting. It returns an error if it cannot
// read a TLS file.
func NewClient(options ClientOptions) (*Client, error) {
	transport, err := options.Transport.without(options.Header).RoundTripper(func(config *tls.Config) *http.Transport {
		// New connections resume the TLS session of earlier ones.
		config.ClientSessionCache = tls.NewLRUClientSessionCache(0)
		return &http.Transport{
			DialContext:         dialer(options),
			TLSClientConfig:     config,
			TLSHandshakeTimeout: dialTimeout,
			MaxIdleConnsPerHost: cmp.Or(options.IdleConnections, options.PoolSize),
			MaxConnsPerHost:     options.PoolSize + probeConnections,
			IdleConnTimeout:     cmp.Or(options.IdleTimeout, idleTimeout),
			ForceAttemptHTTP2:   options.HTTP2,
			// The caller gets the encoding that it requested.
			DisableCompression: true,
		}
	})
	if err != nil {
		return nil, err
	}
	return &Client{
		base: options.URL, header: options.Header, configured: options.Transport, tenancy: options.Tenancy, transport: transport,
		probeBytes: cmp.Or(options.ProbeBytes, maxProbeBytes),
	}, nil
}

// Sends reports whether every request has a header, because a datasource or the configuration of the
// destination names it.
func (c *Client) Sends(name string) bool {
	return len(c.header.Values(name)) > 0 || c.configured.sends(name)
}

// ProbeLimit returns the maximum size of an answer to a probe in bytes.
func (c *Client) ProbeLimit() int64 { return c.probeBytes }

// Endpoint returns the URL of the tier for display.
func (c *Client) Endpoint() string { return c.base.Redacted() }

// Server returns the scheme, host and port of the tier, or an empty string if they are unknown.
func (c *Client) Server() string {
	return (&url.URL{Scheme: c.base.Scheme, Host: c.base.Host}).String()
}

// Outgoing is a request as it goes to the tier.
type Outgoing struct {
	// Method is GET or POST. Path is the escaped path below the base of the tier.
	Method, Path, RawQuery string
	// Body is that of a POST; nil for none.
	Body []byte
	// Header is the header of the caller's request. It must not be changed.
	Header http.Header
}

// Prepare returns what goes to the tier for a request that is confined to some namespaces, or to
// none. It returns the error of the tenancy.
func (c *Client) Prepare(request *promapi.Request, confinedTo []string) (Outgoing, error) {
	made := Outgoing{Method: request.Method, Path: request.Path, Header: request.Header, RawQuery: request.RawQuery, Body: request.Body}
	if c.tenancy == nil {
		return made, nil
	}
	var err error
	made.Method, made.RawQuery, made.Body, err = c.tenancy.apply(request, confinedTo)
	if made.Method == http.MethodGet {
		made.Header = request.Header.Clone()
		made.Header.Del("Content-Type")
	}
	return made, err
}

// Sender returns a function that calls Send.
func (c *Client) Sender(made Outgoing) func(ctx context.Context) (*http.Response, error) {
	return func(ctx context.Context) (*http.Response, error) { return c.Send(ctx, made) }
}

// Send sends a request and returns the answer, with a body that is neither decompressed nor
// buffered. The caller closes the body. Send returns an error if the tier cannot be reached, or
// sends no header before ctx ends. Describe describes the error.
func (c *Client) Send(ctx context.Context, made Outgoing) (*http.Response, error) {
	target, err := c.target(made)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	request := (&http.Request{
		Method: made.Method, URL: target, Host: target.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, len(made.Header)+len(c.header)+roomForHeaders),
	}).WithContext(ctx)
	if len(made.Body) > 0 {
		request.ContentLength = int64(len(made.Body))
		request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(made.Body)), nil }
		request.Body, _ = request.GetBody()
	}
	maps.Copy(request.Header, made.Header)
	tracing.Inject(ctx, request.Header)
	maps.Copy(request.Header, c.header)
	if request.Header.Get("User-Agent") == "" {
		request.Header.Set("User-Agent", "tierproxy")
	}
	// All requests only read. The transport may therefore repeat a request if the tier has just
	// closed the connection. An empty list of values is not sent.
	request.Header["Idempotency-Key"] = nil
	// A redirect is not followed, because it could send the tier's credential anywhere.
	response, err := c.transport.RoundTrip(request)
	if record, is := errors.AsType[tls.RecordHeaderError](err); is && string(record.RecordHeader[:]) == "HTTP/" {
		return nil, http.ErrSchemeMismatch
	}
	return response, err
}

// roomForHeaders is the number of headers that are added to those of the caller.
const roomForHeaders = 4

// target returns the URL of a request: an escaped path below the base of the tier.
func (c *Client) target(made Outgoing) (*url.URL, error) {
	target := &url.URL{Scheme: c.base.Scheme, Host: c.base.Host, Path: strings.TrimSuffix(c.base.Path, "/") + made.Path, RawQuery: made.RawQuery}
	if c.base.RawPath == "" && !strings.Contains(made.Path, "%") {
		return target, nil
	}
	target.RawPath = strings.TrimSuffix(c.base.EscapedPath(), "/") + made.Path
	var err error
	target.Path, err = url.PathUnescape(target.RawPath)
	return target, err
}

// Get calls an endpoint of the tier for a probe, and returns the data and the warnings of the
// answer. It returns
// a *StatusError for a status other than success, and ErrTooLarge for an answer above
// ProbeLimit.
func (c *Client) Get(ctx context.Context, path string, parameters url.Values) (data []byte, warnings []string, err error) {
	data, warnings, _, err = c.get(ctx, path, parameters, func(body io.Reader) io.Reader { return body })
	return data, warnings, err
}

// Evaluate is Get for an instant query. It returns the header and the whole body of the answer besides.
func (c *Client) Evaluate(ctx context.Context, query string) (data []byte, answer Evaluation, err error) {
	var text bytes.Buffer
	data, _, answer.Header, err = c.get(ctx, "/api/v1/query", url.Values{"query": {query}}, func(body io.Reader) io.Reader {
		return io.TeeReader(body, &text)
	})
	answer.Text = text.Bytes()
	return data, answer, err
}

func (c *Client) get(ctx context.Context, path string, parameters url.Values, through func(io.Reader) io.Reader) (data []byte, warnings []string, header http.Header, err error) {
	response, err := c.Send(ctx, Outgoing{
		Method: http.MethodGet, Path: path, RawQuery: c.tenancy.ofProbe(path, c.ofOwn(path, parameters)).Encode(),
		Header: http.Header{"User-Agent": {probeUserAgent}},
	})
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= http.StatusMultipleChoices {
		return nil, nil, response.Header, &StatusError{Status: response.StatusCode}
	}
	data, warnings, _, err = promapi.DecodeEnvelope(response.StatusCode, through(http.MaxBytesReader(nil, response.Body, c.ProbeLimit())))
	if _, is := errors.AsType[*http.MaxBytesError](err); is {
		return nil, nil, response.Header, ErrTooLarge
	}
	return data, warnings, response.Header, err
}

// Close closes idle connections.
func (c *Client) Close() { closeIdle(c.transport) }

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
