package admission

import (
	"context"
	"net/http"
	"testing"
)

// BenchmarkCoalescer is what a query costs that could be joined, and is not.
func BenchmarkCoalescer(b *testing.B) {
	calls := NewController(Limits{SharedBytes: 1 << 20, Queue: 10}, nil)
	made := Call{
		Caller: by(1), Key: RequestKey{Method: http.MethodGet, Path: "/api/v1/query_range", RawQuery: "query=up&start=1&end=2&step=1"},
		Send: func(context.Context) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, ContentLength: -1}, nil
		},
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		response, err := calls.Do(ctx, made)
		if err != nil {
			b.Fatal(err)
		}
		_ = response.Body.Close()
	}
}
