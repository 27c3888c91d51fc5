package discovery

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// watching returns a Discovery with so many watches, the first of which was used
// last an age ago and each other one a second later. It notes which are ended.
func watching(count int, age time.Duration, ended *[]string) *Discovery {
	d := &Discovery{watches: newWatches()}
	for i := range count {
		reference := Reference{Namespace: "monitoring", Name: fmt.Sprint("prometheus-", i)}
		what := watched{reference: reference}
		added := newWatch(what, nil, nil)
		added.lastUsed = time.Now().Add(time.Duration(i)*time.Second - age)
		added.cancel = func() { *ended = append(*ended, reference.Name) }
		d.watches.Add(what, added)
	}
	return d
}

func TestWatches_EndTheOneThatWasNotUsedForTheLongestTime(t *testing.T) {
	var ended []string
	d := watching(maxWatches, time.Hour, &ended)
	d.Resolve(Reference{Namespace: "monitoring", Name: "prometheus-0"}) // It is in use.
	require.Empty(t, ended, "there is room")
	another := watched{reference: Reference{Namespace: "monitoring", Name: "another"}}
	d.watches.Add(another, newWatch(another, nil, nil))
	require.Equal(t, []string{"prometheus-1"}, ended)
	require.Equal(t, maxWatches, d.watches.Len())
}

// Otherwise, more Services than there may be watches would be looked up again with each query.
func TestWatches_InUseDoNotEndForOthers(t *testing.T) {
	var ended []string
	d := watching(maxWatches, time.Minute, &ended)
	d.context, d.options.OnChange = t.Context(), func(Reference, *Service) {}
	another := Reference{Namespace: "monitoring", Name: "another"}
	require.Equal(t, &Service{
		State: StateUnknown, Stale: true, Namespace: "monitoring", Name: "another",
		Message: "tierproxy watches 512 Services, the most that it can, and all of them are in use",
	}, d.Resolve(another))
	d.Wait(t.Context(), another) // There is nothing to wait for.
	require.Empty(t, ended)
	require.Equal(t, maxWatches, d.watches.Len())
}

func TestDropUnused_EndsOldWatches(t *testing.T) {
	var ended []string
	d := watching(3, time.Hour, &ended)
	d.Resolve(Reference{Namespace: "monitoring", Name: "prometheus-1"})
	d.DropUnused(time.Now().Add(-time.Minute))
	require.ElementsMatch(t, []string{"prometheus-0", "prometheus-2"}, ended)
	require.Equal(t, 1, d.watches.Len())
}

// Before Start nothing is followed, and what is not followed is not kept.
func TestResolve_BeforeStart(t *testing.T) {
	d := &Discovery{watches: newWatches()}
	found := d.Resolve(Reference{Namespace: "monitoring", Name: "prometheus"})
	require.Equal(t, &Service{State: StateUnknown, Namespace: "monitoring", Name: "prometheus", Message: "the first lookup of the Service monitoring/prometheus has not finished yet"}, found)
	require.Zero(t, d.watches.Len())
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
	w := newWatch(watched{reference: reference}, nil, func(_ Reference, state *Service) { told = append(told, state) })
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
