package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// The subcommands of this program: servers whose CPU time is read, and which
// are processes of their own for that.
const (
	serveAnswers = "serve-answers"
	serveProxy   = "serve-reverse-proxy"
)

// bytesParameter is the parameter of a query that says how long its answer is
// to be.
const bytesParameter = "answer_bytes"

// answers answers queries with as many bytes as they ask for, and probes as a
// Prometheus does.
func answers() http.Handler {
	longest := []byte(strings.Repeat(`[1764115200,"0.123456789"],`, (20<<20)/27))
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := request.ParseForm(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		size, err := strconv.Atoi(request.Form.Get(bytesParameter))
		if err != nil {
			faketier.Probes(w, request)
			return
		}
		const head, tail = `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[`, `[0,"0"]]}]}}`
		w.Header().Set("Content-Length", strconv.Itoa(size))
		middle := longest[:(size-len(head)-len(tail))/27*27]
		_, _ = io.WriteString(w, head)
		_, _ = w.Write(middle)
		_, _ = io.WriteString(w, strings.Repeat(" ", size-len(head)-len(middle)-len(tail))+tail)
	})
}

// reverseProxy is what people would write in a few lines: httputil.ReverseProxy
// with a transport that keeps its connections, and buffers that are used again.
// It reads the body of a POST before it sends it on, as tierproxy does: it would
// otherwise break off answers that begin before it has seen the end of the body.
func reverseProxy(target *url.URL) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(request *httputil.ProxyRequest) { request.SetURL(target) },
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 50, MaxConnsPerHost: 50, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
		},
		BufferPool: newBufferPool(),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if len(body) > 0 {
			request.Body = io.NopCloser(strings.NewReader(string(body)))
		}
		proxy.ServeHTTP(w, request)
	})
}

// bufferPool keeps the buffers of a ReverseProxy.
type bufferPool struct{ free chan []byte }

func newBufferPool() *bufferPool { return &bufferPool{free: make(chan []byte, 64)} }

// Get implements httputil.BufferPool.
func (p *bufferPool) Get() []byte {
	select {
	case buffer := <-p.free:
		return buffer
	default:
		return make([]byte, 32<<10)
	}
}

// Put implements httputil.BufferPool.
func (p *bufferPool) Put(buffer []byte) {
	select {
	case p.free <- buffer:
	default:
	}
}

// runServer runs a subcommand: NAME ADDRESS [CERTIFICATE KEY | TARGET].
func runServer(arguments []string) error {
	name, address, rest := arguments[0], arguments[1], arguments[2:]
	var handler http.Handler
	switch name {
	case serveProxy:
		target, err := url.Parse(rest[0])
		if err != nil {
			return fmt.Errorf("the target of the proxy: %w", err)
		}
		handler, rest = reverseProxy(target), nil
	case serveHonest:
		handler, rest = siegeServer(name, rest[0]), nil
	case serveHostile:
		handler = siegeServer(name, "")
	default:
		handler = answers()
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	if len(rest) == 2 {
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		return server.ServeTLS(listener, rest[0], rest[1])
	}
	return server.Serve(listener)
}
