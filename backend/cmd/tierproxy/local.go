package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
)

// localGateway is the gateway of a configuration, running for one command. It
// serves nobody but this command: it has no listener.
type localGateway struct {
	*datasource.Manager
}

// startLocal starts a gateway that says on its log only what went wrong.
func startLocal(ctx context.Context, config datasource.Config, log io.Writer) (*localGateway, error) {
	logger := logrus.New()
	logger.SetOutput(log)
	logger.SetLevel(logrus.ErrorLevel)
	manager, err := datasource.NewManager(config, logger)
	if err != nil {
		return nil, err
	}
	if err := manager.Start(ctx); err != nil {
		return nil, err
	}
	return &localGateway{manager}, nil
}

// RoundTrip implements http.RoundTripper: the handler of the gateway answers.
func (g *localGateway) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Body == nil {
		request.Body = http.NoBody
	}
	defer func() { _ = request.Body.Close() }()
	answer := &recorder{header: http.Header{}, status: http.StatusOK}
	gateway.New(g.Manager).ServeHTTP(answer, request)
	if err := request.Context().Err(); err != nil {
		return nil, fmt.Errorf("the gateway did not answer in time: %w", err)
	}
	return &http.Response{
		StatusCode: answer.status, Status: http.StatusText(answer.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: answer.header, Body: io.NopCloser(&answer.body), ContentLength: int64(answer.body.Len()), Request: request,
	}, nil
}

// recorder keeps an answer, which is a small one.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) { r.status = status }

// Write implements http.ResponseWriter.
func (r *recorder) Write(content []byte) (int, error) { return r.body.Write(content) }
