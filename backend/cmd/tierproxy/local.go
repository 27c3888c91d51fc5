package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
)

// startManager starts a Manager for one command, with the configuration of a file. adapt
// changes the configuration, if not nil. The Manager logs errors only.
func startManager(ctx context.Context, file string, adapt func(*config.Config), log io.Writer) (*datasource.Manager, error) {
	settings, err := config.Load(file)
	if err != nil {
		return nil, fmt.Errorf("the configuration has mistakes:\n%w", err)
	}
	if adapt != nil {
		adapt(&settings)
	}
	logger := logrus.New()
	logger.SetOutput(log)
	logger.SetLevel(logrus.ErrorLevel)
	manager, err := datasource.NewManager(settings, logger)
	if err != nil {
		return nil, err
	}
	return manager, manager.Start(ctx)
}

// localTransport answers requests with a gateway in this process, which has no listener.
type localTransport struct{ gateway *gateway.Gateway }

// RoundTrip implements http.RoundTripper.
func (t localTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	answer := &recorder{header: http.Header{}, status: http.StatusOK}
	t.gateway.ServeHTTP(answer, request)
	if err := request.Context().Err(); err != nil {
		return nil, fmt.Errorf("the gateway did not answer in time: %w", err)
	}
	return &http.Response{StatusCode: answer.status, Header: answer.header, Body: io.NopCloser(&answer.Buffer), Request: request}, nil
}

// recorder is an http.ResponseWriter that keeps the answer in memory.
type recorder struct {
	bytes.Buffer
	header http.Header
	status int
}

// Header implements http.ResponseWriter.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) { r.status = status }
