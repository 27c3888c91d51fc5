// Package perses reads saved datasources from the Perses API. It sends the caller's
// own credentials, so that one request shows both the datasource and whether the
// caller may read it. It imports config, promapi and promql only.
package perses

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

const (
	// freshFor is how long an answer of Perses is used. Changes of a datasource and of
	// permissions take effect within this time.
	freshFor = 5 * time.Second
	// refreshAfter is the age from which a lookup refreshes the answer in the background,
	// so that no caller waits while a datasource is in use.
	refreshAfter = freshFor / 2
	// staleFor is how long an answer is used while Perses is unreachable.
	staleFor = 60 * time.Second

	cacheEntries = 4096
	// cacheBytes limits the memory for cached specs. A spec counts with specFactor
	// times the length of its JSON.
	cacheBytes = 16 << 20
	specFactor = 4
	// maxDocumentBytes limits an answer of Perses, such as a dashboard with its panels.
	maxDocumentBytes = 4 << 20
)

// Options configure a Client.
type Options struct {
	// URL is the base URL of Perses, including its path prefix.
	URL *url.URL
	// Timeout limits one request to Perses.
	Timeout time.Duration
	// Transport sends the requests of callers.
	Transport http.RoundTripper
	// Service sends the requests of ServiceCaller, with the gateway's own credential. It
	// is nil without one.
	Service http.RoundTripper
	// TenantHeaders are the further headers that select a tenant.
	TenantHeaders TenantHeaders
	// Now returns the current time.
	Now func() time.Time
	// OnLookup is called with the outcome of each lookup, one of Outcomes, if not nil.
	OnLookup func(outcome string)
}

// The outcomes of a lookup, as label values of a metric.
const (
	outcomeCached      = "cached"
	outcomeFetched     = "fetched"
	outcomeStale       = "stale"
	outcomeRefused     = "refused"
	outcomeUnavailable = "unavailable"
)

// Outcomes returns every outcome of a lookup.
func Outcomes() []string {
	return []string{outcomeCached, outcomeFetched, outcomeStale, outcomeRefused, outcomeUnavailable}
}

// Client looks up datasources. It is safe for concurrent use.
type Client struct {
	options Options
	http    *http.Client
	service *http.Client // nil if the gateway has no credential of its own
	cache   *lru.Cache[cacheKey, entry]
	// keeping is held while an entry is added. kept is the size of all entries in bytes.
	keeping sync.Mutex
	kept    atomic.Int64
	users   *lru.Cache[cacheKey, knownUser]
	lookups singleflight.Group
}

// entry is a cached answer of Perses.
type entry struct {
	datasource *Datasource
	fetched    time.Time
	// expires is when the caller's token expires, and the zero time without a token.
	expires time.Time
	// neverStale is set if the expiry of the token is unknown.
	neverStale bool
}

// usable reports whether the entry is younger than age and its token has not expired.
func (e entry) usable(now time.Time, age time.Duration) bool {
	return now.Sub(e.fetched) < age && (e.expires.IsZero() || now.Before(e.expires))
}

// size returns the approximate size of the entry in bytes.
func (e entry) size() int64 { return int64(specFactor * e.datasource.size) }

// NewClient returns a client for the Perses at options.URL.
func NewClient(options Options) (*Client, error) {
	client := &Client{options: options}
	var cacheError, usersError error
	client.cache, cacheError = lru.NewWithEvict(cacheEntries, func(_ cacheKey, evicted entry) { client.kept.Add(-evicted.size()) })
	client.users, usersError = lru.New[cacheKey, knownUser](cacheEntries)
	refuseRedirects := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.http = &http.Client{Transport: options.Transport, CheckRedirect: refuseRedirects}
	if options.Service != nil {
		client.service = &http.Client{Transport: options.Service, CheckRedirect: refuseRedirects}
	}
	return client, errors.Join(cacheError, usersError)
}

// errUnreachable marks the errors without an answer of Perses. An older answer is then
// used for staleFor.
var errUnreachable = errors.New("perses cannot be reached")

// Lookup returns the datasource if the caller may read it.
//
// It returns an Error that names the datasource: 404 if it does not exist, 401 and 403
// if Perses answers so, 400 if it has another kind or an invalid spec, and 503 if
// Perses is unreachable.
func (c *Client) Lookup(ctx context.Context, reference Reference, caller Caller) (*Datasource, error) {
	if err := reference.Validate(); err != nil {
		return nil, err
	}
	key := caller.cacheKey(reference.path() + "#" + reference.Name)
	now := c.options.Now()
	cached, isCached := c.cache.Get(key)
	if isCached && cached.usable(now, freshFor) {
		c.report(outcomeCached)
		if !cached.usable(now, refreshAfter) {
			// The key contains the credentials, so the refresh uses those of this caller.
			c.fetchOnce(ctx, key, reference, caller)
		}
		return cached.datasource, nil
	}
	fetched, err := await(ctx, reference, c.fetchOnce(ctx, key, reference, caller))
	if err == nil && now.Sub(fetched.fetched) >= freshFor {
		// The request in flight was older than this lookup, and Perses was slow.
		fetched, err = await(ctx, reference, c.fetchOnce(ctx, key, reference, caller))
	}
	switch {
	case err == nil:
		c.report(outcomeFetched)
	case errors.Is(err, errUnreachable) && isCached && !cached.neverStale && cached.usable(now, staleFor):
		c.report(outcomeStale)
		return cached.datasource, nil
	case errors.Is(err, errUnreachable):
		c.report(outcomeUnavailable)
	default:
		c.report(outcomeRefused)
	}
	return fetched.datasource, err
}

func (c *Client) report(outcome string) {
	if c.options.OnLookup != nil {
		c.options.OnLookup(outcome)
	}
}

// fetchOnce sends one request to Perses for all callers that wait with the same key.
// The request continues, within its own timeout, if a caller disconnects.
func (c *Client) fetchOnce(ctx context.Context, key cacheKey, reference Reference, caller Caller) <-chan singleflight.Result {
	return c.lookups.DoChan(string(key[:]), func() (any, error) {
		started := c.options.Now()
		if cached, isCached := c.cache.Get(key); isCached && cached.usable(started, refreshAfter) {
			return cached, nil // Another request has just ended.
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.options.Timeout)
		defer cancel()
		datasource, err := c.fetch(ctx, reference, caller)
		if err != nil {
			if !errors.Is(err, errUnreachable) {
				c.cache.Remove(key)
			}
			return nil, err
		}
		fresh := entry{datasource: datasource, fetched: started}
		if !caller.Anonymous() && !caller.service {
			end, known := caller.expiry()
			fresh.expires, fresh.neverStale = end, !known
		}
		c.keep(key, fresh)
		return fresh, nil
	})
}

// keep adds an entry to the cache, and evicts others until all fit.
func (c *Client) keep(key cacheKey, added entry) {
	c.keeping.Lock()
	defer c.keeping.Unlock()
	c.cache.Remove(key)
	c.kept.Add(added.size())
	c.cache.Add(key, added)
	for c.kept.Load() > cacheBytes && c.cache.Len() > 0 {
		c.cache.RemoveOldest()
	}
}

// await waits for the answer of Perses.
func await(ctx context.Context, reference Reference, flight <-chan singleflight.Result) (entry, error) {
	select {
	case <-ctx.Done():
		return entry{}, &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorTimeout, Message: fmt.Sprintf("Perses did not say in time what %s is", reference), Cause: ctx.Err()}
	case result := <-flight:
		fetched, _ := result.Val.(entry)
		return fetched, result.Err
	}
}

func (c *Client) fetch(ctx context.Context, reference Reference, caller Caller) (*Datasource, error) {
	if reference.Dashboard != "" {
		// Perses itself checks two permissions: reading the dashboard, and reading the
		// datasources of the project.
		if err := c.CheckMayList(ctx, reference, caller); err != nil {
			return nil, err
		}
	}
	body, err := c.get(ctx, reference.path(), reference.String(), caller)
	if err != nil {
		return nil, err
	}
	return decode(reference, body, c.options.TenantHeaders)
}

// CheckMayList returns nil if the caller may read the datasources of the reference's
// project, or all global ones. The datasource itself need not exist. Nothing is cached.
// It returns the errors of Lookup.
func (c *Client) CheckMayList(ctx context.Context, reference Reference, caller Caller) error {
	if err := reference.Validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	subject := "the global datasources"
	if reference.Project != "" {
		subject = fmt.Sprintf("the datasources of project %q", reference.Project)
	}
	// Only the status matters: the parameters keep the list short.
	_, err := c.get(ctx, reference.listPath()+"?metadata_only=true&name="+reference.Name, subject, caller)
	return err
}

// get reads a path of Perses with the credentials of the caller. subject is what it
// reads, for errors.
func (c *Client) get(ctx context.Context, path, subject string, caller Caller) ([]byte, error) {
	if caller.service && c.service == nil {
		return nil, promapi.Errorf(http.StatusUnauthorized, promapi.ErrorUnauthorized, "tierproxy has no credential of its own to ask Perses for %s", subject)
	}
	status, body, err := c.send(ctx, path, caller, maxDocumentBytes+1)
	if err != nil {
		return nil, unreachable(subject, "", err)
	}
	if err := statusError(subject, caller, status); err != nil {
		return nil, err
	}
	if len(body) > maxDocumentBytes {
		return nil, promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "what Perses answered for %s is larger than %d bytes", subject, maxDocumentBytes)
	}
	return body, nil
}

// send sends a GET request with the credentials of the caller. It returns the status
// and at most limit bytes of the body.
func (c *Client) send(ctx context.Context, path string, caller Caller, limit int64) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.options.URL.String(), "/")+path, http.NoBody)
	if err != nil {
		return 0, nil, fmt.Errorf("create the request to Perses: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "tierproxy")
	maps.Copy(request.Header, caller.header)
	client := c.http
	if caller.service {
		client = c.service
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if body, err = io.ReadAll(io.LimitReader(response.Body, limit)); err != nil {
		return 0, nil, err
	}
	return response.StatusCode, body, nil
}

func unreachable(subject, detail string, cause error) error {
	return &promapi.Error{
		Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable,
		Message: fmt.Sprintf("tierproxy cannot ask Perses for %s%s", subject, detail),
		Cause:   errors.Join(errUnreachable, promapi.WithoutURL(cause)),
	}
}

// statusError returns the error for the caller, and nil for status 200.
func statusError(subject string, caller Caller, status int) error {
	switch {
	case status == http.StatusOK:
		return nil
	case status == http.StatusUnauthorized:
		hint := "sign in to Perses"
		if caller.service {
			hint = "it does not accept the gateway's own credential, perses.service"
		} else if caller.Anonymous() {
			hint = "the request carries no Perses session: sign in, and check that the datasource's proxy does not drop the headers Authorization and Cookie; where it has to, the operator can give the gateway a credential of its own, perses.service"
		}
		return promapi.Errorf(status, promapi.ErrorUnauthorized, "Perses does not know who asks for %s: %s", subject, hint)
	case status == http.StatusForbidden:
		return promapi.Errorf(status, promapi.ErrorForbidden, "you may not read %s: ask for the permission to read it in Perses", subject)
	case status == http.StatusNotFound:
		return promapi.Errorf(status, promapi.ErrorNotFound, "Perses has no %s: check the name in the URL of the datasource's proxy", subject)
	case status >= http.StatusInternalServerError:
		return unreachable(subject, fmt.Sprintf(": it answered with status %d", status), nil)
	}
	return promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "Perses answered with status %d when asked for %s: check the gateway's perses.url", status, subject)
}
