package upstream

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/certificates"
)

// BenchmarkTransport asks a tier over TLS with HTTP/1.1 and with HTTP/2, by as
// many callers at a time. The tier is in the same process: cpu-ns/op is the
// computing of both sides.
func BenchmarkTransport(b *testing.B) {
	authority := certificates.NewAuthority(b)
	for _, size := range []int{1 << 10, 100 << 10, 20 << 20} {
		answer := make([]byte, size)
		server := httpTestServer(b, authority, answer)
		for _, version := range []string{"1.1", "2"} {
			for _, callers := range []int{1, 16, 50} {
				b.Run(fmt.Sprintf("http=%s/size=%dKB/callers=%d", version, size>>10, callers), func(b *testing.B) {
					benchmarkTransport(b, authority, server, version == "2", callers, size)
				})
			}
		}
	}
}

func benchmarkTransport(b *testing.B, authority *certificates.Authority, address string, http2 bool, callers, size int) {
	b.Helper()
	base, err := url.Parse(address)
	require.NoError(b, err)
	config := httpConfig(b, "tls_config: {ca: "+fmt.Sprintf("%q", authority.PEM)+"}")
	access, err := NewTransportConfig(TransportOptions{HTTP: config})
	require.NoError(b, err)
	client, err := NewClient(ClientOptions{URL: base, PoolSize: 50, HTTP2: http2, Transport: access})
	require.NoError(b, err)
	defer client.Close()
	request, err := promapi.NewRequest(promapi.Query, "/api/v1/query", url.Values{"query": {"up"}}, time.Now())
	require.NoError(b, err)
	ask := func(buffer []byte) {
		response, err := client.Do(b.Context(), request)
		if err != nil {
			b.Error(err)
			return
		}
		read, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{response.Body}, buffer)
		_ = response.Body.Close()
		if err != nil || read != int64(size) || (response.ProtoMajor == 2) != http2 {
			b.Errorf("%s, %d bytes of %d: %v", response.Proto, read, size, err)
		}
	}
	together := func(requests int) {
		var group sync.WaitGroup
		work := make(chan struct{}, requests)
		for range requests {
			work <- struct{}{}
		}
		close(work)
		for range callers {
			group.Go(func() {
				buffer := make([]byte, 32<<10)
				for range work {
					ask(buffer)
				}
			})
		}
		group.Wait()
	}
	together(2 * callers) // Handshakes are not what is compared.
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	before := computed()
	together(b.N)
	b.ReportMetric(float64(computed()-before)/float64(b.N), "cpu-ns/op")
}

// computed is how long this process has been computing.
func computed() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func httpTestServer(b *testing.B, authority *certificates.Authority, answer []byte) string {
	b.Helper()
	return serveTLS(b, authority.Issue(time.Now().Add(time.Hour), "127.0.0.1"), nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	})).URL
}
