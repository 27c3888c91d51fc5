// Package catalogtest is what the tests of the rooms of internal/catalog have in common: tiers that
// answer as they are told, clients for them, and servers with gaps in their samples.
package catalogtest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// Answers says what a fake tier answers: the data for the first of its keys that
// the path and the query together contain. What has no key is not found, and an
// empty text fails.
type Answers []struct{ Key, Data string }

// EmptyVector and EmptyMatrix are results without any series.
const (
	EmptyVector = `{"resultType":"vector","result":[]}`
	EmptyMatrix = `{"resultType":"matrix","result":[]}`
)

// VectorOf returns a result whose value is a time in seconds.
func VectorOf(at time.Time) string {
	return fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[1,"%d.%03d"]}]}`, at.Unix(), at.UnixMilli()%1000)
}

// ServeHTTP answers.
func (a Answers) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	query, _ := url.QueryUnescape(request.URL.RawQuery)
	for _, each := range a {
		if !strings.Contains(request.URL.Path+"?"+query, each.Key) {
			continue
		}
		if each.Data == "" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, each.Data)
		return
	}
	w.WriteHeader(http.StatusNotFound)
}

// Scripted is a tier whose answers can be changed. It notes what it was asked.
type Scripted struct {
	*httptest.Server
	mutex   sync.Mutex
	answers Answers
	asked   []string
}

// NewScripted returns a tier with such answers.
func NewScripted(t *testing.T, what Answers) *Scripted {
	t.Helper()
	s := &Scripted{answers: what}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		s.mutex.Lock()
		current := s.answers
		s.asked = append(s.asked, request.URL.Path+"?"+request.URL.Query().Encode())
		s.mutex.Unlock()
		current.ServeHTTP(w, request)
	}))
	t.Cleanup(s.Close)
	return s
}

// Set changes the answers and forgets what was asked.
func (s *Scripted) Set(what Answers) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.answers, s.asked = what, nil
}

// Requests returns what was asked that contains a text.
func (s *Scripted) Requests(text string) []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var found []string
	for _, each := range s.asked {
		if strings.Contains(each, text) {
			found = append(found, each)
		}
	}
	return found
}
