//go:build e2e

package cluster

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/panel"
)

var update = flag.Bool("update", false, "write the walk in CONTRIBUTING.md anew")

const (
	contributing = "../../../CONTRIBUTING.md"
	module       = "github.com/tiered-prometheus/tiered-prometheus/backend/"
	// maxFunctions and maxFiles bound what a reader passes who follows one query.
	maxFunctions, maxFiles = 35, 15
)

// frame is one function on the way of a query.
type frame struct{ room, function, file string }

var (
	goroutine = regexp.MustCompile(`^goroutine (\d+) `)
	creator   = regexp.MustCompile(`^created by (\S+) in goroutine (\d+)$`)
	arguments = regexp.MustCompile(`\([^*].*$`)
	closure   = regexp.MustCompile(`(\.func\d+|\.\d+|\.gowrap\d+|-fm)+$`)
)

// walkOf reads the stacks of all goroutines and returns the functions of this
// module that are entered on the way to where the current goroutine is, the first
// one first. A goroutine that was started on the way continues that of its
// creator.
func walkOf(stacks string) (walk []frame) {
	byID := map[string][]string{}
	var current string
	for i, block := range strings.Split(stacks, "\n\n") {
		lines := strings.Split(strings.TrimSpace(block), "\n")
		found := goroutine.FindStringSubmatch(lines[0])
		if found == nil {
			continue
		}
		byID[found[1]] = lines[1:]
		if i == 0 {
			current = found[1]
		}
	}
	for current != "" {
		lines, next := byID[current], ""
		for i := 0; i+1 < len(lines); i += 2 {
			if started := creator.FindStringSubmatch(lines[i]); started != nil {
				if strings.HasPrefix(started[1], module) {
					next = started[2]
				}
				break
			}
			rest, isOurs := strings.CutPrefix(arguments.ReplaceAllString(lines[i], ""), module)
			if !isOurs || strings.HasPrefix(rest, "test/") {
				continue
			}
			_, function, _ := strings.Cut(rest[strings.LastIndex(rest, "/")+1:], ".")
			function = closure.ReplaceAllString(function, "")
			// A closure of an inlined function has the name of its caller in front, and
			// only its file says which room it is in.
			if at := strings.LastIndex(function, "("); at > 0 {
				function = function[at:]
			}
			file, _, _ := strings.Cut(strings.TrimSpace(lines[i+1]), ":")
			room := path.Base(path.Dir(file))
			one := frame{room: room, function: function, file: room + "/" + path.Base(file)}
			if len(walk) == 0 || walk[len(walk)-1] != one {
				walk = append(walk, one)
			}
		}
		current = next
	}
	slices.Reverse(walk)
	return slices.Compact(walk)
}

// TestWalk_OnePanelQueryIsShortToFollow asks a range query of a saved datasource
// whose tiers are Services of a cluster. It reads the stack when the transport is
// about to take a connection to the tier, and holds CONTRIBUTING.md to it.
func TestWalk_OnePanelQueryIsShortToFollow(t *testing.T) {
	p := newReplicaPair(t)
	pod := p.list[0]
	require.NoError(t, p.start(t.Context(), pod))
	maySeeServices(t, "monitoring")
	perses := startPerses(t)
	g := newGateway(t, p.pods, func(settings *config.Config) {
		settings.Perses.URL, settings.Cold.URL = perses.server.URL, ""
		settings.Discovery.Namespaces = []string{"monitoring"}
	})
	apply(t, teamService(p, pod, "team-prometheus")+"---\n"+teamService(p, pod, "team-thanos"))
	base, err := url.Parse(pod.server.URL)
	require.NoError(t, err)
	p.pods.route("team-thanos.monitoring.svc:9090", base.Host)
	var stacks atomic.Pointer[string]
	served := gateway.New(g.Manager)
	traced := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, incoming *http.Request) {
		served.ServeHTTP(w, incoming.WithContext(httptrace.WithClientTrace(incoming.Context(), &httptrace.ClientTrace{
			GetConn: func(address string) {
				if strings.HasPrefix(address, "team-") {
					all := make([]byte, 4<<20)
					text := string(all[:runtime.Stack(all, true)])
					stacks.Store(&text)
				}
			},
		})))
	}))
	t.Cleanup(traced.Close)
	perses.apply(t, savedTeam("GlobalDatasource", "{name: team}", traced.URL+"/proxy/globaldatasources/team", "monitoring"))

	end := time.Now().Truncate(minute).Add(-2 * minute)
	query := panel.RangeQuery(`sum by (job) (rate(http_requests_total[4m]))`, end, 5*minute, minute)
	require.Eventually(t, func() bool {
		got, err := (&runningGateway{url: perses.server.URL + "/proxy/globaldatasources/team"}).askWith(context.Background(), "query_range", query, nil)
		return err == nil && got.tier == "hot"
	}, eventually, 50*time.Millisecond)
	require.NotNil(t, stacks.Load())
	walk := walkOf(*stacks.Load())

	var text strings.Builder
	files, rooms := map[string]bool{}, []string{}
	for i, each := range walk {
		files[each.file] = true
		if len(rooms) == 0 || rooms[len(rooms)-1] != each.room {
			rooms = append(rooms, each.room)
		}
		fmt.Fprintf(&text, "%d. `%s.%s` in %s\n", i+1, each.room, each.function, each.file)
	}
	require.LessOrEqual(t, len(walk), maxFunctions, text.String())
	require.LessOrEqual(t, len(files), maxFiles, text.String())
	sorted := slices.Sorted(slices.Values(rooms))
	require.Len(t, slices.Compact(sorted), len(rooms), "no room is entered twice: %s\n%s", rooms, &text)

	const begin, ends = "<!-- walk -->\n", "<!-- /walk -->"
	document, err := os.ReadFile(contributing)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(document), begin)
	require.True(t, found)
	written, after, found := strings.Cut(rest, ends)
	require.True(t, found)
	if *update {
		require.NoError(t, os.WriteFile(contributing, []byte(before+begin+"\n"+text.String()+"\n"+ends+after), 0o600))
		return
	}
	require.Equal(t, strings.TrimSpace(written), strings.TrimSpace(text.String()),
		"CONTRIBUTING.md is stale: run go test -tags e2e -run TestWalk ./backend/test/cluster -update")
}
