// Package perses learns datasources from the Perses API. It asks with the
// caller's own credentials, so that one request answers both what a datasource
// is and whether this caller may read it.
package perses

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

const (
	// freshFor is how long an answer of Perses is used without asking again:
	// a revoked permission and a changed datasource take effect within it.
	freshFor = 5 * time.Second
	// refreshAfter is the age from which on the next lookup asks Perses again
	// without waiting for the answer: while a datasource is in use, nobody
	// waits.
	refreshAfter = freshFor / 2
	// staleFor is how old an answer may be while Perses cannot be reached.
	staleFor = 60 * time.Second

	cacheEntries = 4096
	// cacheBytes bounds the specs that are kept, counted by specFactor times their
	// JSON.
	cacheBytes = 16 << 20
	specFactor = 4
	// maxDocumentBytes bounds an answer of Perses: a dashboard with its panels.
	// maxSpecBytes bounds the spec of a datasource.
	maxDocumentBytes = 4 << 20
	maxSpecBytes     = 64 << 10
)

// Reference names a saved datasource.
type Reference struct {
	// Project is empty for a global datasource.
	Project string
	// Dashboard is the dashboard of the project that the datasource lives in;
	// empty for one that is saved by itself.
	Dashboard string
	// Name is the name of the datasource.
	Name string
}

// String names the datasource for errors and logs.
func (r Reference) String() string {
	if r.Project == "" {
		return fmt.Sprintf("global datasource %q", r.Name)
	}
	if r.Dashboard != "" {
		return fmt.Sprintf("datasource %q of dashboard %q of project %q", r.Name, r.Dashboard, r.Project)
	}
	return fmt.Sprintf("datasource %q of project %q", r.Name, r.Project)
}

// validName is the form of names in Perses.
var validName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,75}$`)

// Validate checks that the names can be names in Perses at all. It returns an
// Error with status 400.
func (r Reference) Validate() error {
	for _, name := range []string{r.Name, r.Project, r.Dashboard} {
		if (name != "" || r.Name == "") && (!validName.MatchString(name) || strings.Trim(name, ".") == "") {
			return promapi.BadData("%q cannot be the name of a datasource, dashboard or project: Perses names have 1 to 75 letters, digits, '_', '.' and '-'", name)
		}
	}
	return nil
}

// path is where Perses tells what the datasource is. That of a dashboard tells
// of all its datasources.
func (r Reference) path() string {
	if r.Dashboard != "" {
		return "/api/v1/projects/" + r.Project + "/dashboards/" + r.Dashboard
	}
	return r.listPath() + "/" + r.Name
}

// listPath is where Perses lists the datasources beside this one.
func (r Reference) listPath() string {
	if r.Project == "" {
		return "/api/v1/globaldatasources"
	}
	return "/api/v1/projects/" + r.Project + "/datasources"
}

// siblings names the datasources beside this one.
func (r Reference) siblings() string {
	if r.Project == "" {
		return "the global datasources"
	}
	return fmt.Sprintf("the datasources of project %q", r.Project)
}

// Options configure a Client.
type Options struct {
	// URL is the base URL of Perses; it may have a path prefix.
	URL *url.URL
	// Timeout bounds one request to Perses.
	Timeout time.Duration
	// Transport carries the requests.
	Transport http.RoundTripper
	// Service carries those of ServiceCaller with the gateway's own credential;
	// nil where it has none.
	Service http.RoundTripper
	// Now is the clock.
	Now func() time.Time
	// OnLookup is called with the outcome of each lookup, one of Outcomes, if
	// not nil.
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

// Outcomes lists every outcome of a lookup.
func Outcomes() []string {
	return []string{outcomeCached, outcomeFetched, outcomeStale, outcomeRefused, outcomeUnavailable}
}

// Client looks datasources up. It is safe for concurrent use.
type Client struct {
	options Options
	http    *http.Client
	service *http.Client // nil where the gateway has no credential of its own
	cache   *lru.Cache[cacheKey, entry]
	// keeping is held while an entry is added, and kept is what all take in bytes.
	keeping sync.Mutex
	kept    atomic.Int64
	users   *lru.Cache[cacheKey, knownUser]
	flights singleflight.Group
}

// NewClient returns a client for the Perses at options.URL.
func NewClient(options Options) (*Client, error) {
	client := &Client{options: options}
	cache, err := lru.NewWithEvict(cacheEntries, func(_ cacheKey, evicted entry) { client.kept.Add(-evicted.size()) })
	if err != nil {
		return nil, fmt.Errorf("make the cache of datasources: %w", err)
	}
	users, err := lru.New[cacheKey, knownUser](cacheEntries)
	if err != nil {
		return nil, fmt.Errorf("make the cache of users: %w", err)
	}
	refuseRedirects := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.cache, client.users, client.http = cache, users, &http.Client{Transport: options.Transport, CheckRedirect: refuseRedirects}
	if options.Service != nil {
		client.service = &http.Client{Transport: options.Service, CheckRedirect: refuseRedirects}
	}
	return client, nil
}

// errUnreachable marks failures in which Perses did not say anything about the
// datasource, so that an older answer still counts for a while.
var errUnreachable = errors.New("perses cannot be reached")

// Lookup returns the datasource if the caller may read it.
//
// It returns an Error that names the datasource: 404 when it does not exist,
// 401 and 403 as Perses says, 400 when it is of another kind or its spec is
// invalid, 503 when Perses cannot be reached.
func (c *Client) Lookup(ctx context.Context, reference Reference, caller Caller) (*Datasource, error) {
	if err := reference.Validate(); err != nil {
		return nil, err
	}
	key := caller.cacheKey(reference.path() + "#" + reference.Name)
	now := c.options.Now()
	cached, found := c.cache.Get(key)
	if found && cached.usable(now, freshFor) {
		c.report(outcomeCached)
		if !cached.usable(now, refreshAfter) {
			// With the credentials of this caller: the key is theirs alone.
			c.fetchOnce(ctx, key, reference, caller)
		}
		return cached.datasource, nil
	}
	fetched, err := await(ctx, reference, c.fetchOnce(ctx, key, reference, caller))
	if err == nil && now.Sub(fetched.fetched) >= freshFor {
		// It was asked for somebody else, and Perses took long.
		fetched, err = await(ctx, reference, c.fetchOnce(ctx, key, reference, caller))
	}
	switch {
	case err == nil:
		c.report(outcomeFetched)
	case errors.Is(err, errUnreachable) && found && !cached.neverStale && cached.usable(now, staleFor):
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

func (e entry) usable(now time.Time, age time.Duration) bool {
	return now.Sub(e.fetched) < age && (e.expires.IsZero() || now.Before(e.expires))
}

// fetchOnce asks Perses, once for all callers that wait with the same key. The
// request outlives a single caller who goes away, within its own timeout.
func (c *Client) fetchOnce(ctx context.Context, key cacheKey, reference Reference, caller Caller) <-chan singleflight.Result {
	return c.flights.DoChan(string(key[:]), func() (any, error) {
		asked := c.options.Now()
		if known, found := c.cache.Get(key); found && known.usable(asked, refreshAfter) {
			return known, nil // Another flight has just ended.
		}
		fetchContext, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.options.Timeout)
		defer cancel()
		datasource, err := c.fetch(fetchContext, reference, caller)
		if err != nil {
			if !errors.Is(err, errUnreachable) {
				c.cache.Remove(key)
			}
			return nil, err
		}
		fresh := entry{datasource: datasource, fetched: asked}
		if !caller.Anonymous() && !caller.service {
			end, known := caller.expiry()
			fresh.expires, fresh.neverStale = end, !known
		}
		c.keep(key, fresh)
		return fresh, nil
	})
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
		// Perses itself checks two permissions: to see the dashboard, and to
		// use datasources of the project.
		if err := c.CheckMayList(ctx, reference, caller); err != nil {
			return nil, err
		}
	}
	body, err := c.get(ctx, reference.path(), reference.String(), caller)
	if err != nil {
		return nil, err
	}
	return decode(reference, body)
}

// CheckMayList returns nil when the caller may read the datasources beside the
// reference: all global ones, or all of its project. The datasource itself need
// not exist. Nothing is cached. It returns the errors of Lookup.
func (c *Client) CheckMayList(ctx context.Context, reference Reference, caller Caller) error {
	if err := reference.Validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	// Only the status counts: the list is kept short.
	_, err := c.get(ctx, reference.listPath()+"?metadata_only=true&name="+reference.Name, reference.siblings(), caller)
	return err
}

// get asks Perses for a path with the credentials of the caller. asked names
// what is asked for, in errors.
func (c *Client) get(ctx context.Context, path, asked string, caller Caller) ([]byte, error) {
	if caller.service && c.service == nil {
		return nil, promapi.Errorf(http.StatusUnauthorized, promapi.ErrorUnauthorized, "tierproxy has no credential of its own to ask Perses for %s", asked)
	}
	status, body, err := c.send(ctx, path, caller, maxDocumentBytes+1)
	if status == 0 {
		return nil, unreachable(asked, "", err)
	}
	if err := refusal(asked, caller, status); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, unreachable(asked, "", err)
	}
	if len(body) > maxDocumentBytes {
		return nil, promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "what Perses answered for %s is larger than %d bytes", asked, maxDocumentBytes)
	}
	return body, nil
}

// send asks Perses with the credentials of the caller. It returns the status, zero
// if there is none, and at most so many bytes of the body.
func (c *Client) send(ctx context.Context, path string, caller Caller, most int64) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.options.URL.String(), "/")+path, http.NoBody)
	if err != nil {
		return 0, nil, fmt.Errorf("make the request to Perses: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "tierproxy")
	client := c.http
	if caller.service {
		client = c.service
	}
	caller.apply(request.Header)
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(response.Body, most))
	return response.StatusCode, body, err
}

func unreachable(asked, detail string, cause error) error {
	return &promapi.Error{
		Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable,
		Message: fmt.Sprintf("tierproxy cannot ask Perses for %s%s", asked, detail),
		Cause:   errors.Join(errUnreachable, promapi.WithoutURL(cause)),
	}
}

// refusal turns a status that is no success into the error for the caller.
func refusal(asked string, caller Caller, status int) error {
	switch {
	case status == http.StatusOK:
		return nil
	case status == http.StatusUnauthorized:
		hint := "sign in to Perses"
		switch {
		case caller.service:
			hint = "it does not accept the gateway's own credential, perses.service"
		case caller.Anonymous():
			hint = "the request carries no Perses session: sign in, and check that the datasource's proxy does not drop the headers Authorization and Cookie; where it has to, the operator can give the gateway a credential of its own, perses.service"
		}
		return promapi.Errorf(status, promapi.ErrorUnauthorized, "Perses does not know who asks for %s: %s", asked, hint)
	case status == http.StatusForbidden:
		return promapi.Errorf(status, promapi.ErrorForbidden, "you may not read %s: ask for the permission to read it in Perses", asked)
	case status == http.StatusNotFound:
		return promapi.Errorf(status, promapi.ErrorNotFound, "Perses has no %s: check the name in the URL of the datasource's proxy", asked)
	case status >= http.StatusInternalServerError:
		return unreachable(asked, fmt.Sprintf(": it answered with status %d", status), nil)
	}
	return promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "Perses answered with status %d when asked for %s: check the gateway's perses.url", status, asked)
}

// document is the part of a datasource or a dashboard of Perses that is read here.
type document struct {
	Metadata struct {
		Name    string `json:"name"`
		Project string `json:"project"`
	} `json:"metadata"`
	Spec struct {
		Plugin      plugin `json:"plugin"` // of a datasource
		Datasources map[string]struct {
			Plugin plugin `json:"plugin"`
		} `json:"datasources"` // of a dashboard
	} `json:"spec"`
}

type plugin struct {
	Kind string          `json:"kind"`
	Spec json.RawMessage `json:"spec"`
}

// decode reads what Perses answered for a datasource.
func decode(reference Reference, body []byte) (*Datasource, error) {
	kind, name := "datasource", reference.Name
	if reference.Dashboard != "" {
		kind, name = "dashboard", reference.Dashboard
	}
	var found document
	if err := json.Unmarshal(body, &found); err != nil {
		return nil, &promapi.Error{
			Status: http.StatusBadGateway, Type: promapi.ErrorUnavailable, Cause: err,
			Message: fmt.Sprintf("what Perses answered for %s is no %s: check the gateway's perses.url", reference, kind),
		}
	}
	if found.Metadata.Name != name || found.Metadata.Project != reference.Project {
		return nil, promapi.Errorf(http.StatusBadGateway, promapi.ErrorUnavailable, "asked for %s, Perses answered with another %s", reference, kind)
	}
	if reference.Dashboard == "" {
		return found.Spec.Plugin.datasource(reference)
	}
	named, exists := found.Spec.Datasources[reference.Name]
	if !exists {
		return nil, refusal(reference.String(), Caller{}, http.StatusNotFound)
	}
	return named.Plugin.datasource(reference)
}

// datasource reads the spec of a plugin.
func (p plugin) datasource(reference Reference) (*Datasource, error) {
	if p.Kind != Kind {
		return nil, promapi.BadData("%s is of kind %q, not %q: only the latter is served here", reference, p.Kind, Kind)
	}
	if len(p.Spec) > maxSpecBytes {
		return nil, promapi.BadData("the spec of %s is larger than %d bytes: make it smaller", reference, maxSpecBytes)
	}
	spec, err := ParseSpec(p.Spec)
	if err != nil {
		return nil, promapi.BadData("the spec of %s is invalid: %s", reference, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	generation := sha256.Sum256(p.Spec)
	return &Datasource{Reference: reference, Spec: *spec, Generation: hex.EncodeToString(generation[:]), size: len(p.Spec)}, nil
}
