package catalog

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/evidence"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// sharedStore is a store that several gateways share.
type sharedStore struct{ texts sync.Map }

// of returns the store as one of the gateways sees it.
func (s *sharedStore) of() *evidence.Store {
	return evidence.NewStore().SharedBy(func(_ context.Context, key promql.Key) []byte {
		text, _ := s.texts.Load(key)
		bytes, _ := text.([]byte)
		return bytes
	}, func(key promql.Key, text []byte) { s.texts.Store(key, text) })
}

func TestEvidenceStore_SurvivesAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hot := &namesServer{names: []string{"a", "b", "shared"}}
		cold := &namesServer{others: []string{"shared"}}
		store := evidence.NewStore()
		before, stop := newNamesWorld(t, hot, cold, store)
		before.requireComplete(t, time.Hour, `a`)
		before.requireComplete(t, 30*24*time.Hour, `b`)
		_, _ = before.read(t, time.Hour, `shared`)
		time.Sleep(time.Second)
		stop()
		cold.change(func(*namesServer) {})
		after, stop := newNamesWorld(t, hot, cold, store)
		after.requireComplete(t, time.Hour, `{__name__="a"}`)
		// What is loaded with the first look counts for all others.
		_, _ = after.read(t, time.Hour, `shared`)
		after.requireComplete(t, 30*24*time.Hour, `b`)
		require.Zero(t, cold.count())
		stop()

		time.Sleep(time.Hour)
		late, stop := newNamesWorld(t, hot, cold, store)
		late.requireComplete(t, time.Hour, `a`)
		require.Equal(t, 1, cold.count(), "absence was not renewed for an hour")
		is, _ := late.read(t, time.Hour, `shared`)
		require.Equal(t, tier.Incomplete, is)
		require.Equal(t, 1, cold.count(), "presence counts for a day")
		stop()
	})
}

func TestEvidenceStore_GatewaysShareTheRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hot := &namesServer{names: []string{"a", "b"}}
		cold := &namesServer{}
		store := &sharedStore{}
		var gateways []*namesWorld
		for range 3 {
			w, stop := newNamesWorld(t, hot, cold, store.of())
			defer stop()
			gateways = append(gateways, w)
		}
		for range 120 {
			for _, w := range gateways {
				w.requireComplete(t, time.Hour, `a`, `b`)
			}
			time.Sleep(5 * time.Second)
		}
		require.LessOrEqual(t, cold.count(), 130, "hardly more than those of one gateway")

		cold.change(func(s *namesServer) { s.others = []string{"b"} })
		time.Sleep(10 * time.Second)
		for _, w := range gateways {
			is, _ := w.read(t, time.Hour, `b`)
			require.Equal(t, tier.Incomplete, is)
		}
	})
}
