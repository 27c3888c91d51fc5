package main

import (
	"context"
	"io"
	"time"
)

func soak(ctx context.Context, out io.Writer, duration time.Duration, rate float64) error {
	return nil
}
