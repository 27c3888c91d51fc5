package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// loadAll loads every dashboard once at both ways, and waits until the answers are kept.
func (b *bench) loadAll(ctx context.Context) error {
	for _, base := range []string{b.coldQuery.URL, b.users.URL} {
		group, groupContext := errgroup.WithContext(ctx)
		group.SetLimit(atOnce)
		for _, shown := range []window{lastMinutes, lastHour, lastDay, lastWeek} {
			for number := range b.dashboards {
				for panel := range panels {
					group.Go(func() error { return fetchAll(groupContext, base+panelQuery(shown, number, panel)) })
				}
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return confirm(ctx)
}

// fetchAll reads an answer to its end. It returns an error if its status is not 200.
func fetchAll(ctx context.Context, address string) error {
	status, body, _, err := get(ctx, address)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %.300s", address, status, body)
	}
	return err
}

// cacheBytes is the default of cache.max_bytes.
const cacheBytes = 64 << 20

// withFullCache fills the cache of the tierproxy that users ask, lets them ask again, and adds its
// memory to the report.
func (b *bench) withFullCache(ctx context.Context, users pair) error {
	held := 0.0
	for i := 0; i < b.filling && held < 0.95*cacheBytes; i++ {
		now := time.Now()
		values := url.Values{
			"query": {fmt.Sprintf("rate(http_requests_total[%dm])", 5+i)}, "step": {"15"},
			"start": {seconds(now.Add(-24 * time.Hour).Truncate(15 * time.Second))}, "end": {seconds(now.Truncate(15 * time.Second))},
		}
		if err := fetchAll(ctx, b.users.URL+"/api/v1/query_range?"+values.Encode()); err != nil {
			return err
		}
		if i%10 == 9 || i == b.filling-1 {
			if err := confirm(ctx); err != nil {
				return err
			}
		}
		var err error
		if held, err = b.metric(ctx, b.users.URL, "tierproxy_cache_bytes "); err != nil {
			return err
		}
	}
	filling, err := b.users.Memory()
	if err != nil {
		return err
	}
	for range 2 { // The first is about what filling has left.
		if err := b.users.ForgetPeak(); err != nil {
			return err
		}
		if _, err := attack(ctx, users.through, users.next, min(asked(atUsers), users.full)/2, b.duration); err != nil {
			return err
		}
	}
	memory, err := b.users.Memory()
	if err != nil {
		return err
	}
	b.report.progress("the cache has %s", megabytes(held))
	b.report.bound(fmt.Sprintf("50 users, %s in the cache: resident memory, peak", megabytes(held)), "", 0, float64(memory.Peak), 128<<20, megabytes)
	b.report.note("the same while large answers fill it, 15-second steps of a day", "", megabytes(float64(filling.Peak)), "")
	return nil
}

// metric returns the value of a sample that a server exposes at /metrics, by the beginning of its line.
func (b *bench) metric(ctx context.Context, base, prefix string) (float64, error) {
	_, body, _, err := get(ctx, base+"/metrics")
	if err != nil {
		return 0, err
	}
	found := lines(string(body), prefix)
	if len(found) != 1 {
		return 0, fmt.Errorf("%s exposes %d samples of %s: %w", base, len(found), prefix, io.ErrUnexpectedEOF)
	}
	return strconv.ParseFloat(strings.TrimPrefix(found[0], prefix), 64)
}
