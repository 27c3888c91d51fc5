// Package upstream makes one HTTP call to one server: the transport with its
// pooled connections, the credentials and TLS settings for it, the destinations
// that datasources may name, and the classes of its failures. It knows nothing
// of tiers. Of this project it imports promapi and tracing only.
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
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tracing"
)

// idleTimeout is how long an unused connection to a tier is kept.
const idleTimeout = 90 * time.Second

// dialTimeout bounds how long a tier may take to accept a connection, so that
// a host that swallows packets does not use up the time of the other tier.
const dialTimeout = 5 * time.Second

// ErrTooLarge is returned for an answer to a probe that is larger than the gateway
// reads.
var ErrTooLarge = errors.New("the answer is larger than the gateway reads")

// maxProbeBytes bounds the answer to a probe. The list of blocks of a Prometheus
// with years of data stays far below.
const maxProbeBytes = 8 << 20

// probeConnections are those that queries leave to probes.
const probeConnections = 4

// ClientOptions describe how to reach a tier.
type ClientOptions struct {
	// URL is the base of the tier's Prometheus API: its path goes in front of
	// /api/v1.
	URL *url.URL
	// TransportConfig holds the credential and the settings of TLS; nil means none.
	Transport *TransportConfig
	// PoolSize is the largest number of connections to the tier for queries,
	// idle ones included. Some more are for the gateway's own questions, which
	// must not wait for queries.
	PoolSize int
	// IdleConnections is how many unused connections are kept, and IdleTimeout how
	// long. Zero: PoolSize, and 90 seconds.
	IdleConnections int
	IdleTimeout     time.Duration
	// ProbeBytes bounds the answer to one of the gateway's own questions. Zero:
	// 8 MiB.
	ProbeBytes int64
	// HTTP2 allows HTTP/2 where the tier offers it. For most answers it costs
	// more than connections of HTTP/1.1 that are kept.
	HTTP2 bool
	// Header is sent with every request: the tenant headers of a datasource.
	Header http.Header
	// Guard holds for every connection.
	Guard Guard
	// Tenancy, if not nil, tells the tier whose data is asked for.
	Tenancy *Tenancy
	// Address is the IP address and port to connect to, whatever the URL says:
	// one replica behind a service, whose name is still the one in the URL, in
	// the Host header and in the certificate. Empty: that of the URL.
	Address string
	// Network takes the place of the real one, in tests only.
	Network *Network
}

// probeUserAgent is the User-Agent of the requests that the gateway makes on its
// own account, so that they can be told apart in the log of a tier.
const probeUserAgent = "tierproxy (probe)"

// Client calls one tier. It is safe for concurrent use.
type Client struct {
	base      *url.URL
	header    http.Header
	tenancy   *Tenancy
	transport http.RoundTripper

	probeBytes int64
}

// NewClient returns a client for a tier. It returns an error when a file of TLS
// cannot be read. No connection is made.
func NewClient(options ClientOptions) (*Client, error) {
	carrier, err := options.Transport.RoundTripper(func(config *tls.Config) *http.Transport {
		// A connection that is made anew takes up the session of an earlier one.
		config.ClientSessionCache = tls.NewLRUClientSessionCache(0)
		return &http.Transport{
			DialContext:         dialer(options),
			TLSClientConfig:     config,
			TLSHandshakeTimeout: dialTimeout,
			MaxIdleConnsPerHost: cmp.Or(options.IdleConnections, options.PoolSize),
			MaxConnsPerHost:     options.PoolSize + probeConnections,
			IdleConnTimeout:     cmp.Or(options.IdleTimeout, idleTimeout),
			ForceAttemptHTTP2:   options.HTTP2,
			// Answers go out in the encoding that the caller asked for.
			DisableCompression: true,
		}
	})
	if err != nil {
		return nil, err
	}
	return &Client{
		base:    options.URL,
		header:  options.Header,
		tenancy: options.Tenancy, probeBytes: options.ProbeBytes,
		transport: carrier,
	}, nil
}

// ProbeLimit returns the largest answer to one of the gateway's own questions, in
// bytes.
func (c *Client) ProbeLimit() int64 { return cmp.Or(c.probeBytes, maxProbeBytes) }

// Endpoint returns the address of the tier for people to read.
func (c *Client) Endpoint() string { return c.base.Redacted() }

// Server returns the scheme, host and port of the tier; empty where they are not
// known.
func (c *Client) Server() string {
	return (&url.URL{Scheme: c.base.Scheme, Host: c.base.Host}).String()
}

// Outgoing is a request as it goes to the tier.
type Outgoing struct {
	// Method is GET or POST. Path is the escaped path below the base of the tier.
	Method, Path, RawQuery string
	// Body is that of a POST; nil for none.
	Body []byte
	// Header holds what the caller sent. It is shared with the caller's request
	// and must not be changed.
	Header http.Header
}

// Prepare returns what goes to the tier for a request with the given options. It
// returns the error of the tenancy.
func (c *Client) Prepare(request *promapi.Request, options *CallOptions) (Outgoing, error) {
	made := Outgoing{Method: request.Method, Path: request.Path, Header: request.Header}
	made.RawQuery, made.Body = request.Without(options.Without)
	if c.tenancy == nil {
		return made, nil
	}
	var err error
	made.Method, made.RawQuery, made.Body, err = c.tenancy.apply(request, options.ConfinedTo, made.RawQuery, made.Body)
	if made.Method == http.MethodGet {
		made.Header = request.Header.Clone()
		made.Header.Del("Content-Type")
	}
	return made, err
}

// Send sends what Prepare returned, and returns the answer as it comes in:
// status, header and a body that is neither decompressed nor buffered. The
// caller closes the body.
//
// It returns an error when the tier does not answer with a header before ctx
// ends or cannot be reached; Describe puts it into words.
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
	// Every request only reads: one that met a connection the tier had just
	// closed is sent again. An empty list of values is not sent.
	request.Header["Idempotency-Key"] = nil
	// A redirect is not followed: it could lead anywhere, with the tier's
	// credential.
	response, err := c.transport.RoundTrip(request)
	if record, is := errors.AsType[tls.RecordHeaderError](err); is && string(record.RecordHeader[:]) == "HTTP/" {
		return nil, http.ErrSchemeMismatch
	}
	return response, err
}

// roomForHeaders is for the headers that are added to those of the caller.
const roomForHeaders = 4

// target returns the address of a request: an escaped path below the base of the
// tier.
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

// Get asks an endpoint of the tier for the gateway itself, as the probes do, and
// returns the data of the answer. It returns a *StatusError for a status that is
// no success, and ErrTooLarge for an answer above ProbeLimit.
func (c *Client) Get(ctx context.Context, path string, parameters url.Values) ([]byte, error) {
	response, err := c.Send(ctx, Outgoing{
		Method: http.MethodGet, Path: path, RawQuery: c.tenancy.ofProbe(path, parameters).Encode(),
		Header: http.Header{"User-Agent": {probeUserAgent}},
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= http.StatusMultipleChoices {
		return nil, &StatusError{Status: response.StatusCode}
	}
	data, _, _, err := promapi.DecodeEnvelope(response.StatusCode, http.MaxBytesReader(nil, response.Body, c.ProbeLimit()))
	if _, is := errors.AsType[*http.MaxBytesError](err); is {
		return nil, ErrTooLarge
	}
	return data, err
}

// Close closes idle connections.
func (c *Client) Close() { closeIdle(c.transport) }
