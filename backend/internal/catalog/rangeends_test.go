package catalog

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
)

func TestReadSettings_TellsWhetherRangesIncludeBothEnds(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		closed bool
		fails  bool
	}{
		"as in Prometheus 2":   {body: `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[3600,"2"]}]}}`, closed: true},
		"as in Prometheus 3":   {body: `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[3600,"1"]}]}}`},
		"another answer":       {body: `{"status":"success","data":{"resultType":"vector","result":[]}}`},
		"no subqueries":        {status: http.StatusBadRequest, body: `{"status":"error","errorType":"bad_data","error":"no"}`},
		"refused":              {status: http.StatusUnprocessableEntity, body: `{"status":"error","errorType":"execution","error":"no"}`},
		"it is not there":      {status: http.StatusNotFound, body: "no"},
		"it does not answer":   {status: http.StatusServiceUnavailable, body: "no", fails: true},
		"it answers elsewhere": {status: http.StatusBadGateway, body: "no", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
				if request.URL.Path != "/api/v1/query" {
					http.NotFound(w, request)
					return
				}
				require.Equal(t, url.Values{"query": {rangeEndsQuery}, "time": {"3600.000"}}, request.URL.Query())
				if test.status != 0 {
					w.WriteHeader(test.status)
				}
				_, _ = w.Write([]byte(test.body))
			}))
			t.Cleanup(server.Close)
			settings, err := readSettings(t.Context(), catalogtest.Asking(t, server.URL))
			require.Equal(t, test.fails, err != nil, err)
			require.Equal(t, test.closed, settings.ClosedRanges)
		})
	}
}

func TestClosedRanges_OfPrometheus3(t *testing.T) {
	started, err := embedded.Start(embedded.Options{Address: "127.0.0.1:0", Data: t.TempDir(), Retention: time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, started.Close()) })
	asking := catalogtest.Asking(t, started.URL)
	steps, found, err := asking.VectorValue(t.Context(), rangeEndsQuery, rangeEndsTime)
	require.NoError(t, err)
	require.Equal(t, []any{1.0, true}, []any{steps, found})
	closed, err := closedRanges(context.Background(), asking)
	require.NoError(t, err)
	require.False(t, closed)
}
