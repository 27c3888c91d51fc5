package catalog

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// storeTold is a store as a Thanos lists it.
type storeTold struct {
	LabelSets []map[string]string `json:"labelSets"`
	LastError any                 `json:"lastError"`
	MaxTime   int64               `json:"maxTime"`
}

// watched lets a storeWatch look at lists of stores.
type watched struct {
	storeWatch
	t    *testing.T
	told *catalogtest.Scripted
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	return &watched{t: t, told: catalogtest.NewScripted(t, nil)}
}

func (w *watched) at(now time.Time, kinds map[string][]storeTold) ([]Store, []tier.Note) {
	w.t.Helper()
	text, err := json.Marshal(kinds)
	require.NoError(w.t, err)
	w.told.Set(catalogtest.Answers{{"/stores", string(text)}})
	return w.look(w.t.Context(), catalogtest.Asking(w.t, w.told.URL), now)
}

func labelled(value string, lastError any, maxTime int64) storeTold {
	return storeTold{[]map[string]string{{"cluster": value}}, lastError, maxTime}
}

func TestLook_ServersWithTheSameLabels(t *testing.T) {
	now := time.Now()
	w := newWatched(t)
	one := func(stores ...storeTold) Store {
		t.Helper()
		found, _ := w.at(now, map[string][]storeTold{"store": stores})
		require.Len(t, found, 1)
		return found[0]
	}
	expected := Store{Kind: "store", LabelSets: []map[string]string{{"cluster": "a"}}, MaxTime: 20, Servers: 2}
	require.Equal(t, expected, one(labelled("a", nil, 20), labelled("a", "", 10)), "the newest sample of both counts")
	now = now.Add(time.Minute)
	expected.Servers, expected.Fewer, expected.MaxTime = 1, true, 10
	require.Equal(t, expected, one(labelled("a", map[string]string{}, 20), labelled("a", nil, 10)), "one of them fails")
	require.Equal(t, expected, one(labelled("a", nil, 10), labelled("a", "gone", 20)), "whichever it is")
	now = now.Add(23 * time.Hour)
	require.True(t, one(labelled("a", nil, 10)).Fewer)
	now = now.Add(2 * time.Hour)
	expected.Fewer = false
	require.Equal(t, expected, one(labelled("a", nil, 10)), "whoever took it away meant it")
	expected.Servers, expected.Failed, expected.Fewer = 0, true, true
	require.Equal(t, expected, one(labelled("a", "gone", 99)), "what it holds is what it told last")
}

func TestLook_AStoreIsMissedForADay(t *testing.T) {
	began := time.Now()
	both := map[string][]storeTold{"store": {labelled("a", nil, 1)}, "sidecar": {labelled("b", nil, 1)}}
	one := map[string][]storeTold{"store": {labelled("a", nil, 1)}}
	w := newWatched(t)
	_, notes := w.at(began, both)
	require.Empty(t, notes)
	found, notes := w.at(began.Add(24*time.Hour), one)
	require.Len(t, found, 2)
	require.Len(t, notes, 1)
	found, notes = w.at(began.Add(24*time.Hour+time.Second), one)
	require.Len(t, found, 1)
	require.Empty(t, notes)
	require.Equal(t, len(`store with {cluster="a"}`), w.bytes)

	// One that failed from the beginning is missed too.
	w = newWatched(t)
	found, notes = w.at(began, map[string][]storeTold{"store": {labelled("a", "gone", 1)}})
	require.Len(t, found, 1)
	require.True(t, found[0].Failed)
	require.Len(t, notes, 1)

	// A Thanos that fails for once, and a server that has no stores.
	w.told.Set(catalogtest.Answers{{"/stores", ""}})
	found, notes = w.look(t.Context(), catalogtest.Asking(t, w.told.URL), began)
	require.Nil(t, found)
	require.Nil(t, notes)
}

func TestLook_AFewNotesNameStores(t *testing.T) {
	w := newWatched(t)
	var failing []storeTold
	for i := range 8 {
		failing = append(failing, labelled(fmt.Sprint(i), "gone", 1))
	}
	_, notes := w.at(time.Now(), map[string][]storeTold{"store": failing[:5]})
	require.Len(t, notes, 5)
	_, notes = w.at(time.Now(), map[string][]storeTold{"store": failing})
	require.Len(t, notes, 6)
	require.Equal(t, "the cold tier cannot reach 3 more stores", notes[5].Public)
}

func TestLook_HoldsAtMostSoManyStores(t *testing.T) {
	w := newWatched(t)
	now := time.Now()
	w.seen = map[string]seenStore{}
	for i := range storesRemembered - 1 {
		w.seen[fmt.Sprint(i)] = seenStore{lastSeen: now}
	}
	found, _ := w.at(now, map[string][]storeTold{"store": {labelled("a", nil, 1)}})
	require.Len(t, found, storesRemembered)
	found, notes := w.at(now, map[string][]storeTold{"store": {labelled("a", nil, 1), labelled("b", nil, 1)}})
	require.Nil(t, found, "what is not held cannot be missed")
	require.Len(t, notes, 1)
	require.Contains(t, notes[0].Public, "too many stores")
}

func TestStores_WhatMakesAnotherSet(t *testing.T) {
	base := Store{Kind: "store", Servers: 1, MaxTime: 1, LabelSets: []map[string]string{{"cluster": "a"}}}
	other := base
	other.LabelSets = []map[string]string{{"cluster": "b"}}
	require.Equal(t, storesText([]Store{base, other}), storesText([]Store{other, base}))
	for name, change := range map[string]func(*Store){
		"kind": func(s *Store) { s.Kind = "sidecar" }, "servers": func(s *Store) { s.Servers = 2 }, "labels": func(s *Store) { s.LabelSets = other.LabelSets },
	} {
		changed := base
		change(&changed)
		require.NotEqual(t, storesText([]Store{base}), storesText([]Store{changed}), name)
	}
	later := base
	later.MaxTime = 2
	require.Equal(t, storesText([]Store{base}), storesText([]Store{later}))
	require.NotEqual(t, storesText(nil), storesText([]Store{}))
}

func TestStores_OnlyACompleteSetCounts(t *testing.T) {
	for name, test := range map[string]struct {
		status Status
		told   bool
		found  bool
	}{
		"complete":                    {Status{Available: true, Stores: []Store{{Servers: 1}}}, true, true},
		"down":                        {Status{Stores: []Store{{Servers: 1}}}, true, false},
		"one fails":                   {Status{Available: true, Stores: []Store{{Failed: true}}}, true, false},
		"one of several is gone":      {Status{Available: true, Stores: []Store{{Servers: 1, Fewer: true}}}, true, false},
		"too many to be held":         {Status{Available: true, Notes: []tier.Note{tier.PublicNote("too many")}}, false, false},
		"it does not tell for once":   {Status{Available: true}, true, false},
		"it has never told any store": {Status{Available: true}, false, true},
	} {
		cold := NewTier(TierOptions{Name: tier.Cold})
		cold.status.Store(&test.status)
		began := time.Now()
		cold.observeStores(&test.status, began, test.told)
		_, found := cold.StableStores()
		require.Equal(t, test.found, found, name)
		if found {
			require.True(t, cold.stability.Load().until.Equal(began), "stores may have gone while it was asked")
		}
	}
	cold := NewTier(TierOptions{Name: tier.Cold})
	up := Status{Available: true, Stores: []Store{{Servers: 1}}}
	cold.status.Store(&up)
	cold.observeStores(&up, time.Now(), true)
	cold.ReportFailure(&upstream.StatusError{Status: 503})
	_, found := cold.StableStores()
	require.False(t, found, "a call has failed since the probe")
}

func TestSourcesEnd_EarliestOfTheSources(t *testing.T) {
	now := time.Now()
	set := func(value string) []map[string]string { return []map[string]string{{"cluster": value}} }
	ago := func(age time.Duration) int64 { return now.Add(-age).UnixMilli() }
	for name, test := range map[string]struct {
		stores   []Store
		expected int64
	}{
		"nothing is told":                      {nil, math.MaxInt64},
		"the earliest source":                  {[]Store{{LabelSets: set("a"), MaxTime: ago(time.Hour)}, {LabelSets: set("b"), MaxTime: ago(2 * time.Hour)}}, ago(2 * time.Hour)},
		"the latest store of each":             {[]Store{{LabelSets: set("a"), MaxTime: ago(time.Hour)}, {LabelSets: set("a"), MaxTime: ago(2 * time.Hour)}}, ago(time.Hour)},
		"a source that ended almost a day ago": {[]Store{{LabelSets: set("a"), MaxTime: ago(24*time.Hour - time.Second)}}, ago(24*time.Hour - time.Second)},
		"a source that ended a day ago":        {[]Store{{LabelSets: set("a"), MaxTime: ago(24 * time.Hour)}}, math.MaxInt64},
	} {
		cold := NewTier(TierOptions{Name: tier.Cold})
		cold.status.Store(&Status{Available: true, Stores: test.stores})
		require.Equal(t, test.expected, cold.SourcesEnd(now), name)
	}
}

// TestStores_LabelSetsAreBoundedInBytes tells other stores in every answer.
func TestStores_LabelSetsAreBoundedInBytes(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"store":[{"labelSets":[{"a":"%0300d"}]}]}}`, asked.Add(1))
	}))
	t.Cleanup(server.Close)
	client := catalogtest.BoundedClient(t, server.URL, 8<<10)
	var watch storeWatch
	var stores []Store
	var notes []tier.Note
	for range 20 {
		stores, notes = watch.look(t.Context(), ownrequest.NewClient(ownrequest.Options{Upstream: client}), time.Now())
	}
	require.Nil(t, stores, "it is not known which sources there are")
	require.Contains(t, notes[0].Public, "too many stores")
	require.LessOrEqual(t, watch.bytes, 2<<10)
	stores, _ = watch.look(t.Context(), ownrequest.NewClient(ownrequest.Options{Upstream: client}), time.Now().Add(3*storeForgottenAfter))
	require.Len(t, stores, 1, "what has gone for long makes room")
}

func TestProbe_StoresThatAreGone(t *testing.T) {
	var answer atomic.Pointer[string]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/stores" {
			sources{}.ServeHTTP(w, r)
			return
		}
		_, _ = fmt.Fprintf(w, `{"status":"success","data":%s}`, *answer.Load())
	}))
	t.Cleanup(server.Close)
	set := func(text string) { answer.Store(&text) }
	cold := NewTier(TierOptions{Name: tier.Cold, Client: catalogtest.Client(t, server.URL), ProbeInterval: time.Hour})
	look := func() Status { cold.probe(t.Context()); return cold.Status() }

	set(`{}`)
	require.False(t, look().Available, "a Thanos without stores answers nothing")
	set(`{"store":[{"name":"a","labelSets":[{"cluster":"x"}],"lastError":null}],"sidecar":[{"name":"b","labelSets":[{"cluster":"y"}],"lastError":null}]}`)
	found := look()
	require.True(t, found.Available)
	require.Empty(t, found.Notes)
	set(`{"store":[{"name":"a","labelSets":[{"cluster":"x"}],"lastError":"connection refused"}],"sidecar":[{"name":"b","labelSets":[{"cluster":"y"}],"lastError":null}]}`)
	require.Equal(t, []tier.Note{{
		Detail: `the cold tier cannot reach its store with {cluster="x"}: what only that one holds is missing`,
		Public: `the cold tier cannot reach one of its stores: what only that one holds is missing`,
	}}, look().Notes)
	set(`{"sidecar":[{"name":"b","labelSets":[{"cluster":"y"}],"lastError":null}]}`)
	found = look()
	require.Len(t, found.Notes, 1, "some minutes later Thanos has forgotten it")
	require.Len(t, found.Stores, 2, "it still counts as a source")
	set(`{"store":[{"name":"at another address","labelSets":[{"cluster":"x"}],"lastError":null}],"sidecar":[{"name":"b","labelSets":[{"cluster":"y"}],"lastError":null}]}`)
	require.Empty(t, look().Notes)

	watch := storeWatch{seen: map[string]seenStore{`store with {cluster="z"}`: {lastSeen: time.Now().Add(-25 * time.Hour)}}}
	_, notes := watch.look(t.Context(), catalogtest.Asking(t, server.URL), time.Now())
	require.Empty(t, notes, "whoever took it away meant it")
	_, err := readStores(t.Context(), catalogtest.Asking(t, server.URL+"/nowhere"))
	require.Error(t, err)
}
