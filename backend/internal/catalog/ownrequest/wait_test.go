package ownrequest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWithTimeout_EndsAsContextWithTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := WithTimeout(t.Context(), time.Second)
		defer cancel()
		time.Sleep(400 * time.Millisecond)
		require.NoError(t, ctx.Err(), "it has not ended, and the timer starts")
		began := time.Now()
		<-ctx.Done()
		require.Equal(t, 600*time.Millisecond, time.Since(began), "the time counts from the beginning")
		require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)

		late, cancelLate := WithTimeout(t.Context(), time.Second)
		defer cancelLate()
		time.Sleep(2 * time.Second)
		require.ErrorIs(t, late.Err(), context.DeadlineExceeded, "also if nobody waited before")

		parent, cancelParent := context.WithCancel(t.Context())
		child, cancelChild := WithTimeout(parent, time.Second)
		defer cancelChild()
		grandchild, cancelGrandchild := context.WithCancel(child)
		defer cancelGrandchild()
		cancelParent()
		<-grandchild.Done()
		require.ErrorIs(t, child.Err(), context.Canceled)

		ended, cancelEnded := WithTimeout(t.Context(), time.Second)
		cancelEnded()
		cancelEnded()
		require.ErrorIs(t, ended.Err(), context.Canceled, "although nobody waited before")
		deadline, bounded := ended.Deadline()
		require.True(t, bounded)
		require.Equal(t, time.Now().Add(time.Second), deadline)
	})
}
