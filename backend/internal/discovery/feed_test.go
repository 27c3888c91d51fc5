package discovery

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	errForbidden   = apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "prometheus", errors.New("no rule"))
	errUnreachable = errors.New("dial tcp 10.0.0.1:443: connection refused")
)

func TestProblem_WhatIsNotAllowedIsSaidFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes := 0
		f := &feed{feedOptions: feedOptions{
			group: "discovery.k8s.io", resource: "endpointslices", namespace: "monitoring", name: "prometheus", onChange: func() { changes++ },
		}, problems: map[string]error{}}
		const rule = " endpointslices in namespace monitoring: its Role there or its ClusterRole needs the rule {apiGroups: [\"discovery.k8s.io\"], resources: [endpointslices], verbs: [list, watch], resourceNames: [prometheus]}"
		began := time.Now()
		for _, step := range []struct {
			verb      string
			err       error
			forbidden bool
			text      string
			since     time.Time
			changes   int
		}{
			{verb: "list"},
			{"list", errUnreachable, false, "the Kubernetes API cannot be reached", began.Add(time.Minute), 1},
			{"list", errors.New("another port"), false, "the Kubernetes API cannot be reached", began.Add(time.Minute), 1},
			{"watch", errForbidden, true, "the gateway may not watch" + rule, began.Add(time.Minute), 2},
			{"list", errForbidden, true, "the gateway may not list" + rule, began.Add(time.Minute), 3},
			{"list", nil, true, "the gateway may not watch" + rule, began.Add(time.Minute), 4},
			{"watch", apierrors.NewUnauthorized("no"), false, "the Kubernetes API does not accept the gateway's credentials", began.Add(time.Minute), 5},
			{"watch", apierrors.NewTooManyRequests("no", 1), false, `the Kubernetes API answers with "TooManyRequests"`, began.Add(time.Minute), 6},
			{"watch", nil, false, "", time.Time{}, 7},
			{"watch", errUnreachable, false, "the Kubernetes API cannot be reached", began.Add(9 * time.Minute), 8},
		} {
			f.note(step.verb, step.err)
			forbidden, text, since := f.problem()
			require.Equal(t, []any{step.forbidden, step.text, step.since, step.changes}, []any{forbidden, text, since, changes}, "%+v", step)
			time.Sleep(time.Minute)
		}
	})
}

func TestTry_RepeatsAtGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &feed{feedOptions: feedOptions{onChange: func() {}}, problems: map[string]error{}}
		began := time.Now()
		var asked []time.Duration
		require.NoError(t, f.try(t.Context(), "list", func() error {
			asked = append(asked, time.Since(began))
			if len(asked) < 7 {
				return errUnreachable
			}
			return nil
		}))
		const ms = time.Millisecond
		require.Equal(t, []time.Duration{0, 500 * ms, 1500 * ms, 3500 * ms, 7500 * ms, 12500 * ms, 17500 * ms}, asked)
		_, text, _ := f.problem()
		require.Empty(t, text)

		// The informer answers this with a fresh list.
		expired := apierrors.NewResourceExpired("old")
		require.Equal(t, expired, f.try(t.Context(), "watch", func() error { return expired }))
		_, text, _ = f.problem()
		require.Empty(t, text, "it is nothing that people have to know")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, f.try(ctx, "watch", func() error { return errUnreachable }), context.DeadlineExceeded)
	})
}
