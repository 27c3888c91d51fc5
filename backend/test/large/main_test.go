//go:build e2e

// Package large asks a running tierproxy for answers that are larger than its limits, and
// measures the memory of the process.
package large

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

var shared struct{ dir, tierproxy string }

func TestMain(m *testing.M) {
	status, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare the tests with large answers:", err)
		status = 1
	}
	os.Exit(status)
}

func run(m *testing.M) (status int, err error) {
	if shared.dir, err = os.MkdirTemp("", "tiered-prometheus-large-"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(shared.dir)) }()
	if shared.tierproxy, err = stack.BuildTierproxy(context.Background(), shared.dir); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// sized returns a number from the environment, or what is cheap enough for every run.
func sized(t *testing.T, variable string, small int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return small
	}
	number, err := strconv.Atoi(text)
	require.NoError(t, err, variable)
	return number
}
