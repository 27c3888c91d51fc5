//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/webui"
)

type document = map[string]any

// site is a Perses and the tierproxy behind it.
type site struct {
	t         *testing.T
	perses    *stack.Server
	tierproxy *stack.Server
	directory string // with everything that Perses keeps
	percli    string // configuration file of percli
}

// newSite starts a Perses and a tierproxy for one test. config is merged over
// a configuration with the shared tiers.
func newSite(t *testing.T, perses stack.Perses, config document) *site {
	t.Helper()
	return newSiteOn(t, shared.persesPath, perses, config)
}

// newSiteOn is newSite with the program of another Perses.
func newSiteOn(t *testing.T, persesPath string, perses stack.Perses, config document) *site {
	t.Helper()
	directory, err := os.MkdirTemp(shared.dir, "site-")
	require.NoError(t, err)
	perses.Dir = directory
	perses.Archives = []string{shared.archive}
	if perses.Modules == "" {
		perses.Modules = shared.path("modules")
	}
	persesServer, err := perses.Start(t.Context(), persesPath)
	require.NoError(t, err)
	t.Cleanup(func() { _ = persesServer.Stop() })
	s := &site{t: t, directory: directory, perses: persesServer, percli: filepath.Join(directory, "percli.json")}
	merged := document{
		"perses": document{"url": persesServer.URL},
		"hot":    document{"url": shared.hot.URL},
		"cold":   document{"url": shared.cold.Query.URL},
		"probe":  document{"interval": "500ms"},
	}
	for key, value := range config {
		if more, isMap := value.(document); isMap && key == "perses" {
			more["url"] = persesServer.URL
		}
		merged[key] = value
	}
	s.tierproxy, err = stack.Tierproxy{Name: "tierproxy", Dir: directory, Config: merged}.Start(t.Context(), shared.tierproxyPath)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = s.tierproxy.Stop()
		if t.Failed() {
			t.Logf("the end of tierproxy's log:\n%s", s.tierproxy.LogTail())
		}
	})
	return s
}

// runPercli runs percli with a configuration file of the site's own and returns
// what it printed.
func (s *site) runPercli(arguments ...string) (string, error) {
	s.t.Helper()
	command := exec.CommandContext(s.t.Context(), shared.percliPath, append([]string{"--percliconfig", s.percli}, arguments...)...)
	output, err := command.CombinedOutput()
	return string(output), err
}

func (s *site) login(arguments ...string) {
	s.t.Helper()
	output, err := s.runPercli(append([]string{"login", s.perses.URL}, arguments...)...)
	require.NoError(s.t, err, output)
}

// apply applies documents with percli.
func (s *site) apply(documents ...document) {
	s.t.Helper()
	output, err := s.runPercli("apply", "-f", writeDocuments(s.t, documents...))
	require.NoError(s.t, err, output)
}

// writeDocuments writes a file for percli: a list, because of several YAML
// documents in a file it reads the first only.
func writeDocuments(t *testing.T, documents ...document) string {
	t.Helper()
	text, err := yaml.Marshal(documents)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "documents.yaml")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

// global is a global datasource of our kind; spec is merged into its spec.
func (s *site) global(name string, spec document) document {
	return s.tiered("GlobalDatasource", document{"name": name}, "/proxy/globaldatasources/"+name, spec)
}

// project is a datasource of our kind in a project.
func (s *site) project(project, name string, spec document) document {
	return s.tiered("Datasource", document{"name": name, "project": project}, "/proxy/projects/"+project+"/datasources/"+name, spec)
}

func (s *site) tiered(kind string, metadata document, path string, spec document) document {
	plugin := document{"proxy": httpProxy(s.tierproxy.URL+path, nil)}
	for key, value := range spec {
		plugin[key] = value
	}
	return document{"kind": kind, "metadata": metadata, "spec": document{"default": false, "plugin": document{"kind": "TieredPrometheusDatasource", "spec": plugin}}}
}

func httpProxy(target string, more document) document {
	spec := document{"url": target}
	for key, value := range more {
		spec[key] = value
	}
	return document{"kind": "HTTPProxy", "spec": spec}
}

// answer is what came back for a request.
type answer struct {
	status       int
	tier, reason string
	header       http.Header
	body         []byte
}

// call is one request through a proxy path.
type call struct {
	base     string // such as http://perses/proxy/globaldatasources/metrics
	method   string // GET when empty
	endpoint string // such as query_range
	values   url.Values
	header   http.Header
}

// callClient keeps connections, and asks again where Perses cuts off the answer
// to a POST.
var callClient = &http.Client{Transport: webui.WholeAnswers{RoundTripper: http.DefaultTransport}}

func (c call) do(ctx context.Context) (answer, error) {
	target := c.base + "/api/v1/" + c.endpoint
	var body io.Reader = http.NoBody
	if c.method == http.MethodPost {
		body = strings.NewReader(c.values.Encode())
	} else if len(c.values) > 0 {
		target += "?" + c.values.Encode()
	}
	method := c.method
	if method == "" {
		method = http.MethodGet
	}
	request, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return answer{}, err
	}
	for name, values := range c.header {
		request.Header[name] = values
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := callClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return answer{
		status: response.StatusCode, body: text, header: response.Header,
		tier: response.Header.Get("X-Tier"), reason: response.Header.Get("X-Tier-Reason"),
	}, err
}

// seconds writes a time as the API reads it.
var seconds = promapi.FormatTime

// mustDo makes a call that has to come back.
func mustDo(t *testing.T, c call) answer {
	t.Helper()
	got, err := c.do(t.Context())
	require.NoError(t, err)
	return got
}

// data decodes the data of a successful answer and makes it comparable: series
// sorted, and without the external label that only Thanos has.
func data(t *testing.T, got answer) any {
	t.Helper()
	require.Equal(t, http.StatusOK, got.status, string(got.body))
	var decoded struct {
		Status   string   `json:"status"`
		Warnings []string `json:"warnings"`
		Data     struct {
			ResultType string `json:"resultType"`
			Result     []struct {
				Metric map[string]string `json:"metric"`
				Value  any               `json:"value,omitempty"`
				Values any               `json:"values,omitempty"`
			} `json:"result"`
		} `json:"data"`
	}
	require.NoError(t, json.Unmarshal(got.body, &decoded), string(got.body))
	require.Equal(t, "success", decoded.Status)
	require.Empty(t, decoded.Warnings)
	require.NotEmpty(t, decoded.Data.Result, "an empty answer proves nothing")
	series := map[string]any{}
	for _, each := range decoded.Data.Result {
		delete(each.Metric, externalLabel)
		name, err := json.Marshal(each.Metric)
		require.NoError(t, err)
		require.NotContains(t, series, string(name))
		series[string(name)] = []any{each.Value, each.Values}
	}
	return document{"type": decoded.Data.ResultType, "series": series}
}

// requireOracle checks that an answer equals that of the oracle to the same
// request.
func requireOracle(t *testing.T, c call, got answer) {
	t.Helper()
	c.base, c.header = shared.oracle.URL, nil
	require.Equal(t, data(t, mustDo(t, c)), data(t, got))
}
