package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// The servers of a siege. The honest one is Perses and the two tiers of the
// gateway; the hostile one is the two tiers of the attackers' own project.
const (
	serveHonest  = "serve-siege-honest"
	serveHostile = "serve-siege-hostile"
)

// Words in a query make the tiers of a siege answer in a special way. The honest
// tiers understand the first two: every tier has large answers and slow queries.
const (
	answerLarge     = "siege_large"
	answerSlow      = "siege_slow"
	answerEmpty     = "siege_empty"
	answerExemplars = "siege_exemplars"
	answerHanging   = "siege_hanging"
	answerEndless   = "siege_endless"
	answerBomb      = "siege_bomb"
)

const (
	// hostileProject is the Perses project of the attackers, hostileDatasource its
	// only datasource.
	hostileProject    = "hostile"
	hostileDatasource = "own"
	// largeBytes is the length of a large answer, bombBytes that of an
	// unpacked gzip bomb.
	largeBytes = 20 << 20
	bombBytes  = 256 << 20
	// hostileNames is the number of metric names in the hostile tiers.
	hostileNames = 99_000
)

// siegeKey signs the session tokens of the made-up Perses.
var siegeKey = []byte("a key of a made-up Perses, which protects nothing")

// sessionOf returns a session token of the made-up Perses.
func sessionOf(user string) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject: user, ExpiresAt: jwt.NewNumericDate(time.Now().Add(24 * time.Hour)),
	}).SignedString(siegeKey)
}

// userOf returns the user of a request, or an empty name. As in Perses, a session
// cookie counts before the header; one cookie without the other does not count.
func userOf(request *http.Request) string {
	_, token, _ := strings.Cut(request.Header.Get("Authorization"), " ")
	payload, payloadError := request.Cookie("jwtPayload")
	signature, signatureError := request.Cookie("jwtSignature")
	if payloadError == nil && signatureError == nil {
		token = payload.Value + "." + signature.Value
	}
	var claims jwt.RegisteredClaims
	parsed, err := jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return siegeKey, nil }, jwt.WithValidMethods([]string{"HS256"}))
	if err != nil || !parsed.Valid {
		return ""
	}
	return claims.Subject
}

// fakePerses answers who may read which datasource, and who asks. Every user may read the
// global datasource metrics; only attackers may read those of their project,
// whose tiers are at the given URL.
func fakePerses(hostileURL string) http.Handler {
	write := func(w http.ResponseWriter, value any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(value) // The caller may be gone.
	}
	datasource := func(kind, project, name, path string, more document) document {
		more["proxy"] = document{"kind": "HTTPProxy", "spec": document{"url": "http://127.0.0.1" + path}}
		return document{
			"kind": kind, "metadata": document{"name": name, "project": project},
			"spec": document{"plugin": document{"kind": "TieredPrometheusDatasource", "spec": more}},
		}
	}
	global := datasource("GlobalDatasource", "", "metrics", sharedPath, document{})
	own := datasource("Datasource", hostileProject, hostileDatasource, ownPath, document{
		"hot": document{"url": hostileURL + "/hot"}, "cold": document{"url": hostileURL + "/cold", "lag": "2h"},
	})
	resources := map[string]any{
		"/api/v1/globaldatasources": []document{global}, "/api/v1/globaldatasources/metrics": global,
		"/api/v1/projects/hostile/datasources": []document{own}, "/api/v1/projects/hostile/datasources/own": own,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		user := userOf(request)
		found, exists := resources[request.URL.Path]
		switch isOwn := strings.Contains(request.URL.Path, "/projects/"); {
		case user == "":
			http.Error(w, "{}", http.StatusUnauthorized)
		case isOwn && !strings.HasPrefix(user, hostileUser):
			http.Error(w, "{}", http.StatusForbidden)
		case request.URL.Path == "/api/v1/user/whoami":
			write(w, document{"kind": "User", "metadata": document{"name": user}})
		case !exists:
			http.Error(w, "{}", http.StatusNotFound)
		default:
			write(w, found)
		}
	})
}

// siegeTier is one tier of a siege.
type siegeTier struct {
	name    string
	hostile bool
	// delay is the shortest and the longest time that an ordinary query takes.
	shortest, longest time.Duration
	names             []byte // the answer with all metric names of a hostile tier
	bomb              func() []byte
}

// asker finds who asks for which panel in an honest query.
var asker = regexp.MustCompile(`user="(user-[0-9]+)",panel="([0-9]+)"`)

// ServeHTTP implements http.Handler.
func (t *siegeTier) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if strings.HasPrefix(request.UserAgent(), "tierproxy (probe)") {
		t.probe(w, request)
		return
	}
	if err := request.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	query := request.Form.Get("query") + strings.Join(request.Form["match[]"], " ")
	query = query[:min(len(query), 1000)] // The word is at the beginning.
	path := request.URL.Path
	switch {
	case strings.Contains(query, answerLarge):
		writeLarge(w, path, t.name, largeBytes)
	case strings.Contains(query, answerSlow):
		wait(request, 100*time.Millisecond, 400*time.Millisecond)
		faketier.Success(w, request)
	case t.hostile && t.serveHostile(w, request, query):
	default:
		wait(request, t.shortest, t.longest)
		t.answer(w, path, query)
	}
}

// answer answers an ordinary query with the name of who asks.
func (t *siegeTier) answer(w io.Writer, path, query string) {
	user, panel := "", ""
	if match := asker.FindStringSubmatch(query); match != nil {
		user, panel = match[1], match[2]
	}
	switch {
	case strings.Contains(path, "/label"):
		_, _ = fmt.Fprintf(w, `{"status":"success","data":[%q,"of %s"]}`, "panel "+panel+" of "+user, t.name)
	case strings.HasSuffix(path, "/query_range"):
		points := strings.Repeat(`[1764115200,"0.123456789"],`, 60)
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"user":%q,"panel":%q},"values":[%s]}]}}`,
			user, panel, strings.TrimSuffix(points, ","))
	default:
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"user":%q,"panel":%q},"value":[1764115200,"1"]}]}}`, user, panel)
	}
}

// serveHostile answers as an attack wants it, and reports whether it did.
func (t *siegeTier) serveHostile(w http.ResponseWriter, request *http.Request, query string) bool {
	switch {
	case strings.Contains(query, answerEmpty):
		_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"vector","result":[]}}`)
	case strings.Contains(query, answerExemplars):
		writeExemplars(w, t.name, 2<<20)
	case strings.Contains(query, answerHanging):
		w.Header().Set("Content-Length", fmt.Sprint(60<<20))
		_, _ = io.WriteString(w, `{"status":"success","data":[`+strings.Repeat(" ", 1<<20))
		_ = http.NewResponseController(w).Flush() // The caller may be gone.
		wait(request, time.Minute, time.Minute)
	case strings.Contains(query, answerEndless):
		piece := bytes.Repeat([]byte(`{"__name__":"siege_endless"},`), 1000)
		_, _ = io.WriteString(w, `{"status":"success","data":[`)
		for range 1 << 30 / len(piece) {
			if _, err := w.Write(piece); err != nil {
				break
			}
		}
	case strings.Contains(query, answerBomb):
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(t.bomb())
	default:
		return false
	}
	return true
}

// probe answers the probes of the gateway. A hostile cold tier has two sources,
// and so many names that a regular expression over them takes long.
func (t *siegeTier) probe(w http.ResponseWriter, request *http.Request) {
	switch path := request.URL.Path; {
	case !t.hostile:
		faketier.Probes(w, request)
	case strings.HasSuffix(path, "/label/__name__/values"):
		_, _ = w.Write(t.names)
	case strings.Contains(path, "/label/"):
		_, _ = io.WriteString(w, `{"status":"success","data":[]}`)
	case strings.HasSuffix(path, "/status/config"):
		_, _ = io.WriteString(w, `{"status":"success","data":{"yaml":"global:\n  scrape_interval: 15s\n  external_labels:\n    cluster: hostile\n"}}`)
	case strings.HasSuffix(path, "/stores") && t.name == "cold":
		_, _ = io.WriteString(w, `{"status":"success","data":{"store":[{"labelSets":[{"cluster":"hostile"}],"maxTime":9223372036854775807},{"labelSets":[{"cluster":"other"}],"maxTime":9223372036854775807}]}}`)
	default:
		faketier.Probes(w, request)
	}
}

// wait waits for a time between two bounds, or until the caller is gone.
func wait(request *http.Request, shortest, longest time.Duration) {
	timer := time.NewTimer(shortest + rand.N(longest-shortest+1)) //nolint:gosec // Not a secret.
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-request.Context().Done():
	}
}

// writeLarge writes an answer of about that many bytes in the form of the
// endpoint. Answers of two tiers have nothing in common.
func writeLarge(w io.Writer, path, tier string, size int) {
	head, tail, item := `{"status":"success","data":{"resultType":"vector","result":[`, `]}}`, `{"metric":{"series":"%s-%08d"},"value":[1764115200,"1"]}`
	switch {
	case strings.HasSuffix(path, "/series"):
		head, tail, item = `{"status":"success","data":[`, `]}`, `{"__name__":"siege_large","series":"%s-%08d"}`
	case strings.Contains(path, "/label"):
		head, tail, item = `{"status":"success","data":[`, `]}`, `"%s-%08d"`
	}
	writeList(w, head, tail, item, tier, size)
}

// writeExemplars writes as many exemplars of one series as fit: whoever compares
// each with each takes long.
func writeExemplars(w io.Writer, tier string, size int) {
	writeList(w, `{"status":"success","data":[{"seriesLabels":{"__name__":"siege_exemplars"},"exemplars":[`, `]}]}`,
		`"%.1s%07d"`, tier, size)
}

func writeList(w io.Writer, head, tail, item, tier string, size int) {
	_, _ = io.WriteString(w, head)
	var piece bytes.Buffer
	for i, written := 0, 0; written < size; i++ {
		piece.Reset()
		if i > 0 {
			_ = piece.WriteByte(',')
		}
		_, _ = fmt.Fprintf(&piece, item, tier, i)
		written += piece.Len()
		if _, err := w.Write(piece.Bytes()); err != nil {
			return // The caller is gone.
		}
	}
	_, _ = io.WriteString(w, tail)
}

// siegeServer returns the handler of one of the servers. hostileURL is where the
// hostile tiers are.
func siegeServer(name, hostileURL string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {}) // It is ready.
	if name == serveHonest {
		mux.Handle("/perses/", http.StripPrefix("/perses", fakePerses(hostileURL)))
		// About what Prometheus and Thanos take, without their use of CPU: the
		// gateway is measured, not they.
		mux.Handle("/hot/", &siegeTier{name: "hot", shortest: 2 * time.Millisecond, longest: 5 * time.Millisecond})
		mux.Handle("/cold/", &siegeTier{name: "cold", shortest: 20 * time.Millisecond, longest: 80 * time.Millisecond})
		return mux
	}
	var names bytes.Buffer
	names.WriteString(`{"status":"success","data":["siege_first"`)
	for i := range hostileNames {
		_, _ = fmt.Fprintf(&names, `,"siege_name_that_is_as_long_as_most_%05d"`, i)
	}
	names.WriteString(`]}`)
	bomb := sync.OnceValue(packBomb)
	for _, tier := range []string{"hot", "cold"} {
		mux.Handle("/"+tier+"/", &siegeTier{name: tier, hostile: true, names: names.Bytes(), bomb: bomb})
	}
	return mux
}

// packBomb packs an answer that is much longer than it looks.
func packBomb() []byte {
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, _ = io.WriteString(writer, `{"status":"success","data":[{"__name__":"siege_bomb"}`)
	piece := bytes.Repeat([]byte(`,{"__name__":"siege_bomb"}`), 40_000)
	for range bombBytes / len(piece) {
		_, _ = writer.Write(piece)
	}
	_, _ = io.WriteString(writer, `]}`)
	_ = writer.Close() // A buffer never fails.
	return packed.Bytes()
}
