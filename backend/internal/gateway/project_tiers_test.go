package gateway_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// TestProjectTiers_OneProjectTakesItsShare asks 60 datasources of one project,
// each with tiers of its own. The fake counts the connections that it has.
func TestProjectTiers_OneProjectTakesItsShare(t *testing.T) {
	tier := faketier.Start(t)
	var mutex sync.Mutex
	open, most := map[net.Conn]bool{}, 0
	counting := httptest.NewUnstartedServer(tier.Config.Handler)
	counting.Config.ConnState = func(connection net.Conn, state http.ConnState) {
		mutex.Lock()
		defer mutex.Unlock()
		switch state {
		case http.StateNew:
			open[connection] = true
			most = max(most, len(open))
		case http.StateClosed, http.StateHijacked:
			delete(open, connection)
		case http.StateActive, http.StateIdle:
		}
	}
	counting.Start()
	t.Cleanup(counting.Close)
	specs := map[string]fakeperses.Datasource{}
	add := func(project string, i int) string {
		specs[fmt.Sprintf("/projects/%s/datasources/d%d", project, i)] = fakeperses.Datasource{Tiers: fmt.Sprintf(
			`"hot":{"url":"%[1]s/%[2]s/hot/%[3]d"},"cold":{"url":"%[1]s/%[2]s/cold/%[3]d"},`, counting.URL, project, i)}
		return fmt.Sprintf("/proxy/projects/%s/datasources/d%d", project, i) + query
	}
	honest, greedy := add("honest", 0), make([]string, 60)
	for i := range greedy {
		greedy[i] = add("greedy", i)
	}
	perses := fakeperses.Start(t, "", specs)
	g := newGateway(t, func(settings *config.Config) {
		settings.Perses.URL = perses.URL
		settings.Probe.Interval = config.Duration(time.Hour)
		settings.Destinations = []config.DestinationConfig{{Host: "127.0.0.1", Port: portOf(t, counting.URL)}}
	})
	response, body := g.ask(t, http.MethodGet, honest, "")
	require.Equal(t, http.StatusOK, response.StatusCode, body)
	served := 0
	for _, target := range greedy {
		response, body := g.ask(t, http.MethodGet, target, "")
		if response.StatusCode == http.StatusOK {
			served++
			continue
		}
		require.Equal(t, http.StatusServiceUnavailable, response.StatusCode, body)
		require.Contains(t, body, "limits.project_tiers")
		require.NotEmpty(t, response.Header.Get("Retry-After"))
	}
	require.Equal(t, 16, served, "32 tiers")
	response, body = g.ask(t, http.MethodGet, greedy[0], "")
	require.Equal(t, http.StatusOK, response.StatusCode, body)
	response, body = g.ask(t, http.MethodGet, honest, "")
	require.Equal(t, http.StatusOK, response.StatusCode, body)
	mutex.Lock()
	defer mutex.Unlock()
	require.LessOrEqual(t, most, 34*6, "connections, of which 4 are kept for each tier")
}
