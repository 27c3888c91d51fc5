package discovery

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// watching returns a Discovery with so many watches, the first of which was used
// last an age ago and each other one a second later. It notes which are ended.
func watching(count int, age time.Duration, ended *[]string) *Discovery {
	d := &Discovery{watches: map[Reference]*watch{}}
	for i := range count {
		reference := Reference{Namespace: "monitoring", Name: fmt.Sprint("prometheus-", i)}
		added := newWatch(reference, nil, nil)
		added.lastUsed = time.Now().Add(time.Duration(i)*time.Second - age)
		added.cancel = func() { *ended = append(*ended, reference.Name) }
		d.watches[reference] = added
	}
	return d
}

func TestMakeRoom_EndsTheWatchThatWasNotUsedForTheLongestTime(t *testing.T) {
	var ended []string
	d := watching(maxWatches, time.Hour, &ended)
	d.watch(Reference{Namespace: "monitoring", Name: "prometheus-0"}) // It is in use.
	d.makeRoom()
	require.Equal(t, []string{"prometheus-1"}, ended)
	require.Len(t, d.watches, maxWatches-1)
	d.makeRoom()
	require.Len(t, ended, 1, "there is room")
}

func TestDropUnused_EndsOldWatches(t *testing.T) {
	var ended []string
	d := watching(3, time.Hour, &ended)
	d.watch(Reference{Namespace: "monitoring", Name: "prometheus-1"})
	d.dropUnused(time.Now().Add(-time.Minute))
	require.ElementsMatch(t, []string{"prometheus-0", "prometheus-2"}, ended)
	require.Len(t, d.watches, 1)
}

// Before Start nothing is followed, and what is not followed is not kept.
func TestResolve_BeforeStart(t *testing.T) {
	d := &Discovery{watches: map[Reference]*watch{}}
	found := d.Resolve(Reference{Namespace: "monitoring", Name: "prometheus"})
	require.Equal(t, &Service{State: StateUnknown, Namespace: "monitoring", Name: "prometheus", Message: "the first lookup of the Service monitoring/prometheus has not finished yet"}, found)
	require.Empty(t, d.watches)
}

func TestEqual_EveryPartThatIsFollowed(t *testing.T) {
	whole := func() *Service {
		return &Service{State: StateFound, Name: "prometheus", Namespace: "monitoring", Host: "h", Scheme: "http", Port: 1, Endpoints: []Endpoint{{Name: "p-0", Address: "10.0.0.1:1", Ready: true}}}
	}
	changes := map[string]func(*Service){
		"State":     func(s *Service) { s.State = StateNotReady },
		"Message":   func(s *Service) { s.Message = "x" },
		"Stale":     func(s *Service) { s.Stale = true },
		"Name":      func(s *Service) { s.Name = "x" },
		"Host":      func(s *Service) { s.Host = "x" },
		"Scheme":    func(s *Service) { s.Scheme = "https" },
		"Port":      func(s *Service) { s.Port = 2 },
		"Endpoints": func(s *Service) { s.Endpoints[0].Ready = false },
		"Headless":  func(s *Service) { s.Headless = true },
		"Namespace": nil, // That of the reference.
	}
	require.True(t, whole().equal(whole()))
	for field := range reflect.TypeFor[Service]().Fields() {
		change, found := changes[field.Name]
		require.True(t, found, field.Name)
		if change == nil {
			continue
		}
		changed := whole()
		change(changed)
		require.False(t, whole().equal(changed), field.Name)
	}
	none, unknown := whole(), whole()
	none.Endpoints, unknown.Endpoints = []Endpoint{}, nil
	require.False(t, none.equal(unknown), "none are not the same as not known")
}

func TestOutdated_SaysSinceWhenAndChangesNothingElse(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("east", 3600))
	known := &Service{State: StateFound, Name: "prometheus", Message: "asked as a whole"}
	require.Equal(t, &Service{State: StateFound, Name: "prometheus", Stale: true, Message: "asked as a whole; it is away since 2026-01-02T02:04:05Z: tierproxy uses the last known state"}, known.outdated("it is away", since))
	require.False(t, known.Stale)
	known.Message = ""
	require.Equal(t, "it is away since 2026-01-02T02:04:05Z: tierproxy uses the last known state", known.outdated("it is away", since).Message)
}

// What is not known yet is not told; what cannot be known is told once.
func TestUpdate_BeforeAnythingIsRead(t *testing.T) {
	reference := Reference{Namespace: "monitoring", Name: "prometheus"}
	var told []*Service
	w := newWatch(reference, nil, func(_ Reference, state *Service) { told = append(told, state) })
	w.services = newFeed(feedOptions{resource: "services", namespace: "monitoring", onChange: w.look})
	w.update(t.Context())
	require.Empty(t, told)
	w.services.note("list", errUnreachable)
	require.Len(t, w.wake, 1)
	w.update(t.Context())
	w.update(t.Context())
	require.Equal(t, []*Service{{State: StateUnknown, Namespace: "monitoring", Name: "prometheus", Message: "the Kubernetes API cannot be reached", Stale: true}}, told)
	select {
	case <-w.first:
	default:
		t.Fatal("whoever waits for the first state waits on")
	}
	w.services.note("list", errForbidden)
	w.update(t.Context())
	require.Equal(t, StateForbidden, w.current().State)
}
