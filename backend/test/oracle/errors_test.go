//go:build e2e

package oracle

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"encoding/json"

	"github.com/stretchr/testify/require"
)

// mistake is a request that a Prometheus refuses.
type mistake struct {
	endpoint   string
	parameters string // as in a URL, without its escapes
}

// mistakes are of every kind that an endpoint checks.
func mistakes() []mistake {
	var list []mistake
	add := func(endpoint string, parameters ...string) {
		for _, each := range parameters {
			list = append(list, mistake{endpoint, each})
		}
	}
	// What is no PromQL, or fails when it is evaluated.
	for _, query := range []string{
		``, `sum(`, `up{`, `up up`, `nonsense(up)`, `rate(up)`, `rate(up[5m]`, `up[0s]`, `rate(up[5x])`, `up offset`, `up @ "x"`, `up @ 1e400`, `{}`, `up{job=~"("}`, `sum by (up`,
		`up + on (a) group_left (a) up`, `up and on (a) group_left () up`, `1 == 2`, `topk(up)`, `count_values(1, up)`, `"a" + 1`, `max_over_time(up)`, `up{job="a"`, `up{"a"="b"`, `up{job=a}`,
		`label_replace(up, "a", "$1")`, `abs(1)`, `scalar(1)`, `-"a"`, `up[5m:1m][5m]`, `up offset 5m offset 5m`, `sum(up) by`, `# nothing`, `up{__name__="down"}`, `bool`, `1 and 2`, `up > bool`,
		`vector("a")`, `time(1)`, `absent()`, `é`, `日本`, "up\x00", `up{a!~"*"}`, `9223372036854775808m`, `up[9999999999999y]`, `up offset 9999999999999y`,
		// Of these each part is right.
		`up * on (job) up`, `up == on () up`, `node_load1 + on (job) group_left () up`, `label_replace({__name__=~"up|node_load1"}, "__name__", "", "", "")`, `rate({__name__=~"node_.*"}[5m])`,
		`label_replace(up, "a", "$1", "b", "(")`, `label_replace(up, "", "$1", "job", "(.*)")`, `label_join(up, "", ",", "job")`, `count_values("", up)`, `double_exponential_smoothing(node_load1[5m], 2, 0.5)`,
		`double_exponential_smoothing(node_load1[5m], 0.5, 2)`, `label_replace(up, "instance", "", "", "")`, `limit_ratio(NaN, up)`, `topk(NaN, up)`,
	} {
		add("query", "time=NOW&query="+query)
		add("query_range", "start=AGO&end=NOW&step=60&query="+query)
		if query != "" {
			add("format_query", "query="+query)
		}
	}
	add("query_range", `start=AGO&end=NOW&step=60&query="text"`, `start=AGO&end=NOW&step=60&query=up[5m]`, `start=AGO&end=NOW&step=60&query=up[5m:1m]`)
	add("query", "query=up&time=soon", "query=up&time=1e400", "query=up&timeout=x", "query=up&timeout=-", "query=up&limit=x", "query=up&limit=-1", "query=up&limit=1.5", "query=up&lookback_delta=x", "time=NOW", "query=up&time=2026-13-01T00:00:00Z")
	add("query_range", "query=up&start=AGO&end=NOW", "query=up&start=AGO&end=NOW&step=x", "query=up&start=AGO&end=NOW&step=0", "query=up&start=AGO&end=NOW&step=-1", "query=up&start=AGO&end=NOW&step=NaN", "query=up&start=AGO&end=NOW&step=1e20",
		"query=up&start=NOW&end=AGO&step=60", "query=up&end=NOW&step=60", "query=up&start=AGO&step=60", "query=up&start=x&end=NOW&step=60", "query=up&start=AGO&end=x&step=60", "query=up&start=0&end=NOW&step=1",
		"query=up&start=AGO&end=NOW&step=60&timeout=x", "query=up&start=AGO&end=NOW&step=60&limit=x", "query=up&start=AGO&end=NOW&step=60&limit=-1", "query=up&start=AGO&end=NOW&step=0.001", "query=sum(&start=AGO&end=NOW&step=0", "query=up&start=AGO&end=NOW&step=60&lookback_delta=x")
	for _, endpoint := range []string{"series", "labels", "label/job/values"} {
		add(endpoint, "match[]={", "match[]={}", `match[]={job=""}`, `match[]={job=~".*"}`, "match[]=up&match[]=sum(up)", "match[]=up[5m]", "match[]=", "match[]=up&start=x", "match[]=up&end=x",
			"match[]=up&limit=x", "match[]=up&limit=-1", "match[]=up&limit=1.5", `match[]={job=~"("}`)
	}
	add("series", "", "start=AGO")
	add("query_exemplars", "query=sum(&start=AGO&end=NOW", "query=up&start=x&end=NOW", "query=up&start=AGO&end=x", "query=up&start=NOW&end=AGO", "start=AGO&end=NOW")
	add("metadata", "limit=x", "limit_per_metric=x", "limit=1.5")
	add("rules", "type=x", "exclude_alerts=x")
	return list
}

// TestErrors_AreTheSameOfEitherTier compares what both tiers answer to mistakes,
// with each other and with Prometheus itself.
func TestErrors_AreTheSameOfEitherTier(t *testing.T) {
	w := shopWorld(t)
	series := w.shop("", nil)
	w.write(t, "labelled", series, w.boundary, w.now.Add(future), labelsInCold)
	w.write(t, "hot", series, w.boundary, w.now.Add(future), nil)
	require.NoError(t, os.CopyFS(filepath.Join(w.dir, "cold"), os.DirFS(filepath.Join(w.dir, "hot"))))
	whole := w.prometheus(t, "whole", "labelled", nil)
	hot := w.prometheus(t, "hot", "hot", hotLabels)
	cold := w.thanos(t, "thanos", map[string][]string{"cold": pairs(hotLabels)})
	g := w.gateway(t, hot.URL, cold.Query.URL, nil)
	times := strings.NewReplacer("AGO", seconds(w.now.Add(-10*minute)), "NOW", seconds(w.now))
	refused := 0
	for _, each := range mistakes() {
		values := url.Values{}
		for part := range strings.SplitSeq(times.Replace(each.parameters), "&") {
			if name, value, found := strings.Cut(part, "="); found {
				values.Add(name, value)
			}
		}
		expected := complain(t, whole.URL, http.MethodGet, each.endpoint, values, "")
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if method == http.MethodPost && (strings.HasSuffix(each.endpoint, "/values") || each.endpoint == "metadata" || each.endpoint == "rules") {
				continue
			}
			for _, tier := range []string{"hot", "cold", "auto"} {
				got := complain(t, g.URL, method, each.endpoint, values, tier)
				if got != expected {
					t.Errorf("%s %s?%s at %s:\n  %s\nexpected\n  %s", method, each.endpoint, each.parameters, tier, got, expected)
				}
				if got.status >= http.StatusBadRequest {
					refused++
				}
			}
		}
	}
	require.Greater(t, refused, 600, "most of them are mistakes")

	// What Prometheus makes something of, although it means nothing, is refused.
	for _, each := range []mistake{{"query", "query=up&time=NaN"}, {"series", "match[]=up&start=2&end=1"}, {"labels", "start=2&end=1"}, {"label/job/values", "start=2&end=1"}} {
		values, err := url.ParseQuery(each.parameters)
		require.NoError(t, err)
		for _, tier := range []string{"hot", "cold", "auto"} {
			require.Equal(t, http.StatusBadRequest, complain(t, g.URL, http.MethodGet, each.endpoint, values, tier).status)
		}
	}
	// What is newer than Thanos' engine is refused by it alone, in the same words,
	// with positions in the query as it was written.
	for query, sentence := range map[string]string{
		`rate(up[5m + 1m])`:                          `1:9: parse error: experimental duration expression is not enabled`,
		`max_over_time(up[1h:]) + up smoothed`:       `1:26: parse error: smoothed modifier is experimental and not enabled`,
		`sum(up{cluster="lab"} anchored)`:            `1:5: parse error: anchored modifier is experimental and not enabled`,
		`node_load1 + fill (0) node_load1`:           `1:14: parse error: unknown function with name "fill"`,
		`avg_over_time(up[1h:]) + up [1h:] smoothed`: `1:26: parse error`,
	} {
		got := complain(t, g.URL, http.MethodPost, "query", url.Values{"query": {query}, "time": {seconds(w.now)}}, "cold")
		require.Equal(t, []any{http.StatusBadRequest, "bad_data"}, []any{got.status, got.kind}, "%s: %s", query, got)
		require.Contains(t, got.sentence, `invalid parameter "query": `+sentence)
	}
}

// complaint is what a server says of a request, comparable.
type complaint struct {
	status         int
	kind, sentence string
}

func (c complaint) String() string { return fmt.Sprintf("%d %s %s", c.status, c.kind, c.sentence) }

// labelSets are written in an order of their own by every server.
var labelSets = regexp.MustCompile(`\{[^{}]*\}`)

func complain(t *testing.T, base, method, endpoint string, values url.Values, choice string) complaint {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	target, body := base+"/api/v1/"+endpoint, ""
	if method == http.MethodPost {
		body = values.Encode()
	} else {
		target += "?" + values.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if choice != "" {
		request.Header.Set("X-Tier-Choice", choice)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	var decoded struct {
		ErrorType string `json:"errorType"`
		Error     string `json:"error"`
	}
	require.NoError(t, json.Unmarshal(text, &decoded), "%s", text)
	return complaint{response.StatusCode, decoded.ErrorType, labelSets.ReplaceAllString(decoded.Error, "{}")}
}
