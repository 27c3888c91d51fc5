package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

const thresholds = "/api/v1/alert_thresholds"

// thresholdAnswer is an answer of the endpoint.
type thresholdAnswer struct {
	Status, ErrorType, Error string
	Data                     struct {
		Thresholds []gateway.Threshold
		Skipped    []gateway.SkippedRule
	}
	Warnings []string
	Mistakes []struct{ Field, Message string }
}

// thresholdsOf asks for alert thresholds.
func (g *served) thresholdsOf(t *testing.T, target string, header ...string) (*http.Response, thresholdAnswer) {
	t.Helper()
	response, body := g.ask(t, http.MethodGet, target, "", header...)
	var answer thresholdAnswer
	require.NoError(t, json.Unmarshal([]byte(body), &answer), "%.300s", body)
	return response, answer
}

// titles are those of the thresholds.
func (a *thresholdAnswer) titles() (list []string) {
	for _, each := range a.Data.Thresholds {
		list = append(list, each.Title)
	}
	return list
}

// ruleOf is the JSON of an alerting rule. more are further members.
func ruleOf(name, expression, more string) string {
	return fmt.Sprintf(`{"type":"alerting","name":%q,"query":%q%s}`, name, expression, more)
}

// rulesOf is an answer of the rules endpoint with one group. more are further members.
func rulesOf(group, more string, rules ...string) string {
	return fmt.Sprintf(`{"status":"success","data":{"groups":[{"name":%q,"file":"%s.yml","rules":[%s]}]}%s}`, group, group, strings.Join(rules, ","), more)
}

const critical = `,"labels":{"severity":"critical"},"duration":300,"annotations":{"summary":"Too <many>."},"state":"pending"`

func TestThresholds_OfBothTiers(t *testing.T) {
	g := newGateway(t, nil)
	shared := ruleOf("HighErrors", "rate(errors_total[5m]) > 0.5", critical)
	g.hot.Handle(faketier.Status(200, rulesOf("web", "", shared, ruleOf("Latency", "0.1 < latency <= 2", ""), `{"type":"recording","name":"r","query":"a > 1"}`)))
	g.cold.Handle(faketier.Status(200, rulesOf("web", `,"warnings":["a store is slow"]`,
		strings.Replace(shared, "pending", "firing", 1), ruleOf("Down", "absent(up)", ""), ruleOf("Odd", "median(x) > ", ""))))
	response, answer := g.thresholdsOf(t, thresholds)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, []string{"hot,cold", "application/json"}, []string{response.Header.Get("X-Tier"), response.Header.Get("Content-Type")})
	require.NotEmpty(t, response.Header.Get("X-Tier-Reason"))
	require.Equal(t, gateway.Threshold{
		Alert: "HighErrors", Group: "web", File: "web.yml", Title: "HighErrors > 0.5", Query: "rate(errors_total[5m]) > 0.5",
		Left: "rate(errors_total[5m])", Operator: ">", Right: "0.5", Metrics: []string{"errors_total"}, For: 300,
		Labels: map[string]string{"severity": "critical"}, Annotations: json.RawMessage(`{"summary":"Too <many>."}`), State: "firing", Tier: "hot,cold",
	}, answer.Data.Thresholds[0], "once, in its most severe state")
	require.Equal(t, []string{"HighErrors > 0.5", "Latency > 0.1", "Latency <= 2"}, answer.titles())
	require.Equal(t, []gateway.SkippedRule{
		{Alert: "Down", Group: "web", Query: "absent(up)", Reason: "the expression compares nothing"},
		{Alert: "Odd", Group: "web", Query: "median(x) > ", Reason: `Prometheus' parser refuses the expression: 1:1: parse error: unknown function with name "median"`},
	}, answer.Data.Skipped)
	require.Contains(t, answer.Warnings, "a store is slow")
	for _, tier := range []*faketier.Tier{g.hot, g.cold} {
		requests := tier.Requests()
		require.Equal(t, url.Values{"type": {"alert"}, "exclude_alerts": {"true"}}, requests[len(requests)-1].Parameters)
	}

	_, body := g.ask(t, http.MethodPost, thresholds, "alert=Down", "Content-Type", "application/x-www-form-urlencoded")
	require.JSONEq(t, `{"status":"success","data":{"thresholds":[],"skipped":[{"alert":"Down","group":"web","query":"absent(up)","reason":"the expression compares nothing"}]},
		"warnings":["a store is slow"]}`, body)
	response, answer = g.thresholdsOf(t, thresholds, "X-Tier-Choice", "hot")
	require.Equal(t, "hot", response.Header.Get("X-Tier"))
	require.Equal(t, "hot", answer.Data.Thresholds[0].Tier)
	_, metrics := g.ask(t, http.MethodGet, "/metrics", "")
	require.Contains(t, metrics, `tierproxy_requests_total{endpoint="alert_thresholds",outcome="success"} 3`)
}

func TestThresholds_SelectedByParameters(t *testing.T) {
	g := newGateway(t, nil)
	g.hot.Handle(faketier.Status(200, rulesOf("web", "",
		ruleOf("A", "a > 1 and on() b > 2", `,"labels":{"severity":"critical","team":"x"}`), ruleOf("B", "b > 3", `,"labels":{"severity":"info","team":"{{ $labels.team }}"}`),
		ruleOf("N", `{__name__=~"node_(cpu|mem)"} > 6`, ""), ruleOf("Q", `{"node\u005fdisk"} > 7`, ""), ruleOf("C", "a == 0 or absent(a)", ""), ruleOf("D", "absent(b)", ""), ruleOf("E", "median(a) > 1", ""))))
	g.cold.Handle(faketier.Status(200, rulesOf("web", "", ruleOf("B", "b > 3", `,"labels":{"severity":"info","team":"{{ $labels.team }}"}`))))
	for parameters, expected := range map[string][]string{
		"metric=node_cpu": {"N > 6"}, "metric=node_disk": {"Q > 7"}, "": {"A > 1", "A > 2", "B > 3", "N > 6", "Q > 7", "C == 0", "-C", "-D", "-E"}, "alert=A": {"A > 1", "A > 2"}, "alert=A&alert=D": {"A > 1", "A > 2", "-D"},
		"metric=a": {"A > 1", "C == 0", "-C", "-E"}, "metric=b": {"A > 2", "B > 3", "-D"}, "metric=a&metric=b&alert=A": {"A > 1", "A > 2"}, "metric=c": nil,
		`match[]={severity="critical"}`: {"A > 1", "A > 2"}, `match[]={severity=~"crit.*|info"}&metric=b`: {"A > 2", "B > 3"},
		`match[]={severity="critical"}&match[]={alertname="B"}`: {"A > 1", "A > 2", "B > 3"}, `match[]={team=""}&alert=B`: {"B > 3"}, `match[]={team!=""}`: {"A > 1", "A > 2"},
		`match[]={}&alert=B`: {"B > 3"}, "alert=a": nil, "dedup=true&alert=B": {"B > 3"},
	} {
		t.Run(parameters, func(t *testing.T) {
			response, answer := g.thresholdsOf(t, thresholds+"?"+(&url.URL{RawQuery: parameters}).Query().Encode())
			require.Equal(t, http.StatusOK, response.StatusCode)
			found := answer.titles()
			for _, skipped := range answer.Data.Skipped {
				found = append(found, "-"+skipped.Alert)
			}
			require.Equal(t, expected, found)
		})
	}
}

func TestThresholds_ReportsAllMistakes(t *testing.T) {
	g := newGateway(t, nil)
	response, answer := g.thresholdsOf(t, thresholds+"?"+url.Values{
		"alert": {""}, "metric": {""}, "match[]": {`{severity=`, `up{severity="x"}`}, "rule_name[]": {"A"}, "type": {"record"},
	}.Encode())
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
	require.Equal(t, []string{"error", "bad_data"}, []string{answer.Status, answer.ErrorType})
	var fields []string
	for _, mistake := range answer.Mistakes {
		fields = append(fields, mistake.Field)
		require.Contains(t, answer.Error, mistake.Message)
	}
	require.Equal(t, []string{"alert", "metric", "match[]", "match[]", "type", "rule_name[]"}, fields)
	for _, parameters := range []string{"match[]=" + strings.Repeat("x", 100_000), "match[]=" + url.QueryEscape(`{a=~"(x{1000}){1000}"}`)} {
		response, _ = g.thresholdsOf(t, thresholds+"?"+parameters)
		require.Equal(t, http.StatusBadRequest, response.StatusCode, "before it is parsed")
	}
	require.Empty(t, append(g.hot.Requests(), g.cold.Requests()...), "nothing reached a tier")
}

func TestThresholds_OfSeveralClusters(t *testing.T) {
	g := newGateway(t, nil)
	group := func(cluster string) string {
		rules := ruleOf("Full", "used > capacity", `,"state":"inactive"`) + "," + ruleOf("Low", "free < 5", `,"state":"`+map[string]string{"a": "inactive", "b": "firing"}[cluster]+`"`)
		return `{"name":"disk","tier":"hot","source":"{cluster=\"` + cluster + `\"}","rules":[` + rules + `]}`
	}
	g.hot.Handle(faketier.Status(200, `{"status":"success","data":{"groups":[`+group("a")+","+group("b")+`]}}`))
	_, answer := g.thresholdsOf(t, thresholds, "X-Tier-Choice", "hot")
	require.Equal(t, []string{"Full > capacity", "Low < 5", "Full > capacity"}, answer.titles(), "a number is the same everywhere")
	require.Equal(t, `label_replace(capacity{cluster="a"}, "cluster", "", "", "")`, answer.Data.Thresholds[0].Right)
	require.Equal(t, `label_replace(capacity{cluster="b"}, "cluster", "", "", "")`, answer.Data.Thresholds[2].Right)
	require.Equal(t, "firing", answer.Data.Thresholds[1].State)
}

// confinedThresholds is a gateway whose tiers have rules of two namespaces, and what the project
// of one asks.
func confinedThresholds(t *testing.T, change func(*config.Config)) (*served, string) {
	t.Helper()
	perses := fakeperses.Start(t, "alice", map[string]fakeperses.Datasource{"/projects/shop/datasources/metrics": {}})
	g := newGateway(t, func(settings *config.Config) {
		settings.Perses.URL = perses.URL
		settings.Projects = []config.ProjectConfig{{Name: "shop", Namespaces: []string{"shop"}}}
		if change != nil {
			change(settings)
		}
	})
	return g, "/proxy/projects/shop/datasources/metrics" + thresholds
}

// TestThresholds_ConfinedCallersLearnNothingElse looks for traces of another namespace in every
// byte of the answer.
func TestThresholds_ConfinedCallersLearnNothingElse(t *testing.T) {
	g, target := confinedThresholds(t, nil)
	const shop, bank = `,"labels":{"namespace":"shop"},"state":"firing"`, `,"labels":{"namespace":"bank"},"annotations":{"x":"bank"},"state":"firing"`
	g.hot.Handle(faketier.Status(200, rulesOf("shared", `,"warnings":["rule bank is broken"],"infos":["bank"]`,
		ruleOf("Shop", `a{namespace="shop"} > 5`, shop), ruleOf("Bank", "bank > 5", bank), ruleOf("BankBroken", "bank > ", bank), ruleOf("BankAbsent", "absent(bank)", bank),
		ruleOf("Template", "bank > 5", `,"labels":{"namespace":"{{ $labels.namespace }}","x":"bank"}`), ruleOf("None", "bank > 5", ""), ruleOf("Empty", "bank > 5", `,"labels":{"namespace":""}`),
		ruleOf("Own", `a > b{namespace="shop"}`, shop), ruleOf("Wider", `a > sum(b)`, shop), ruleOf("Other", `a > b{namespace=~"shop|till"}`, shop))))
	g.cold.Handle(faketier.Status(200, rulesOf("bank", "", ruleOf("Bank2", "bank > 5", bank))))
	for _, parameters := range []string{"", "?metric=bank", "?alert=Bank", "?match[]=" + url.QueryEscape(`{namespace="bank"}`)} {
		for _, choice := range []string{"auto", "hot", "cold"} {
			response, body := g.ask(t, http.MethodGet, target+parameters, "", "Authorization", "Bearer alice", "X-Tier-Choice", choice)
			require.Equal(t, http.StatusOK, response.StatusCode, body)
			header, err := json.Marshal(response.Header)
			require.NoError(t, err)
			for _, hidden := range []string{"bank", "Bank", "Template", "None", "Empty", "cluster"} {
				require.NotContains(t, body+string(header), hidden, parameters)
			}
		}
	}
	_, answer := g.thresholdsOf(t, target, "Authorization", "Bearer alice", "X-Tier-Choice", "hot")
	require.Equal(t, []string{"Shop > 5", `Own > b{namespace="shop"}`}, answer.titles())
	require.Equal(t, "firing", answer.Data.Thresholds[0].State)
	require.Len(t, answer.Data.Skipped, 2)
	require.Contains(t, answer.Data.Skipped[0].Reason, "may be read from series that you may not see")
	require.Contains(t, answer.Warnings, "a tier answered with warnings, which may be about rules of other namespaces: some rules may be missing")

	for _, parameters := range []string{"?storeMatch[]=x", "?namespace=bank", "?replicaLabels[]=namespace"} {
		response, _ := g.thresholdsOf(t, target+parameters, "Authorization", "Bearer alice")
		require.Equal(t, http.StatusBadRequest, response.StatusCode, parameters)
	}
	response, _ := g.thresholdsOf(t, target)
	require.Equal(t, http.StatusUnauthorized, response.StatusCode)
	response, _ = g.thresholdsOf(t, strings.TrimSuffix(target, "alert_thresholds")+"rules", "Authorization", "Bearer alice")
	require.Equal(t, http.StatusForbidden, response.StatusCode, "all rules stay hidden")
}

// TestThresholds_ConfinedCallersOfSeveralClusters do not learn the external labels of a cluster.
func TestThresholds_ConfinedCallersOfSeveralClusters(t *testing.T) {
	g, target := confinedThresholds(t, nil)
	rules := ruleOf("A", `a > b{namespace="shop"}`, `,"labels":{"namespace":"shop"}`) + "," + ruleOf("B", `a > 5`, `,"labels":{"namespace":"shop"}`)
	g.hot.Handle(faketier.Status(200, `{"status":"success","data":{"groups":[{"name":"g","tier":"hot","source":"{cluster=\"a\"}","rules":[`+rules+`]}]}}`))
	_, body := g.ask(t, http.MethodGet, target, "", "Authorization", "Bearer alice", "X-Tier-Choice", "hot")
	require.NotContains(t, body, "cluster=")
	require.Contains(t, body, "series of several clusters")
	require.Contains(t, body, `"title":"B > 5"`)
}

func TestThresholds_AreBoundedInMemory(t *testing.T) {
	g := newGateway(t, func(settings *config.Config) { settings.Limits.DecodedMemory = 1 << 20 })
	// Each threshold repeats the whole expression: what goes out is larger than the memory.
	long := "a > 1" + strings.Repeat(" or a > 1", 40) + " or b{c=\"" + strings.Repeat("x", 8000) + "\"} > 2"
	for i := range 40 {
		long = strings.Replace(long, "a > 1", fmt.Sprintf("a%d > %d", i, i), 1)
	}
	g.cold.Handle(faketier.Status(200, rulesOf("cold", "")))
	g.hot.Handle(faketier.Status(200, rulesOf("hot", "", ruleOf("Long", long, ""))))
	for range 30 {
		response, answer := g.thresholdsOf(t, thresholds)
		require.Equal(t, http.StatusOK, response.StatusCode, answer.Error)
		require.Len(t, answer.Data.Thresholds, 42, "memory is given back")
	}
	var many []string
	for i := range 3000 {
		many = append(many, ruleOf(fmt.Sprint("A", i), "a > 1", ""))
	}
	g.hot.Handle(faketier.Status(200, rulesOf("hot", "", many...)))
	response, answer := g.thresholdsOf(t, thresholds)
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.Contains(t, answer.Error, "limits.decoded_memory")
	g.hot.Handle(faketier.Status(200, rulesOf("hot", "", many[:100]...)))
	response, _ = g.thresholdsOf(t, thresholds)
	require.Equal(t, http.StatusOK, response.StatusCode, "memory is given back after an error")
}

func TestThresholds_OfTiersThatFail(t *testing.T) {
	g := newGateway(t, nil)
	g.hot.Handle(faketier.Status(503, "down"))
	g.cold.Handle(faketier.Status(200, rulesOf("cold", "", ruleOf("A", "a > 1", ""))))
	_, answer := g.thresholdsOf(t, thresholds)
	require.Equal(t, []string{"A > 1"}, answer.titles())
	require.Contains(t, strings.Join(answer.Warnings, " "), "the hot tier failed")
	for _, body := range []string{`{"status":"success","data":{"groups":[{"rules":5}]}}`, `{"status":"success","data":[]}`, `<html>`, `{"status":"success","data":{"groups":[`} {
		g.cold.Handle(faketier.Status(200, body))
		response, answer := g.thresholdsOf(t, thresholds, "X-Tier-Choice", "cold")
		require.Equal(t, http.StatusBadGateway, response.StatusCode, body)
		require.NotEmpty(t, answer.Error)
	}
	g.cold.Handle(faketier.Status(200, `{"status":"success","data":{"groups":null}}`))
	_, answer = g.thresholdsOf(t, thresholds, "X-Tier-Choice", "cold")
	require.Equal(t, "success", answer.Status)
	g.cold.Handle(faketier.Status(400, `{"status":"error","errorType":"bad_data","error":"no ruler"}`))
	response, answer := g.thresholdsOf(t, thresholds, "X-Tier-Choice", "cold")
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
	require.Equal(t, "no ruler", answer.Error)
}

func TestThresholds_OfHostileRulesTakeLittleTime(t *testing.T) {
	g := newGateway(t, func(settings *config.Config) { settings.Limits.DecodedMemory = 128 << 20 })
	var rules []string
	for i := range 20 {
		rules = append(rules, ruleOf(fmt.Sprint("Deep", i), strings.Repeat("(", 5000)+fmt.Sprint("a > ", i), ""),
			ruleOf(fmt.Sprint("Long", i), "a > "+strings.Repeat("1 + ", 20_000)+"1", ""), ruleOf(fmt.Sprint("Regexp", i), fmt.Sprintf(`a{b=~"(x{1000}){%d}"} > 1`, i+900), ""),
			ruleOf(fmt.Sprint("Chain", i), fmt.Sprint("a > ", i)+strings.Repeat(" > 1", 1500), ""))
	}
	g.hot.Handle(faketier.Status(200, rulesOf("hostile", "", rules...)))
	started := time.Now()
	response, answer := g.thresholdsOf(t, thresholds, "X-Tier-Choice", "hot")
	require.Equal(t, http.StatusOK, response.StatusCode, answer.Error)
	require.Len(t, answer.Data.Skipped, 4*20)
	require.Len(t, answer.Data.Thresholds, 20*50)
	require.Less(t, time.Since(started), time.Minute)
}
