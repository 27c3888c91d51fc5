package main

import (
	"net"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	// shutdownGrace is what a stop may take beyond the longest query.
	shutdownGrace = 5 * time.Second
	// readHeaderTimeout bounds how long a client may take to send a header.
	readHeaderTimeout = 10 * time.Second
	// idleTimeout is how long a connection is kept that has no request.
	idleTimeout = 2 * time.Minute
	// maxHeaderBytes bounds the header of a request, its query string included.
	maxHeaderBytes = 512 << 10
	// adminTimeout bounds a request to the admin address: a profile takes 30 s by
	// default.
	adminTimeout = 2 * time.Minute
)

// gateway puts the whole URL space of the gateway into the server of Perses'
// library.
type gateway struct {
	handler http.Handler
	// listener speaks TLS; nil where the library listens, without.
	listener net.Listener
}

// RegisterRoute implements the server library's Register.
func (g gateway) RegisterRoute(server *echo.Echo) {
	for _, each := range []*http.Server{server.Server, server.TLSServer} {
		each.ReadHeaderTimeout, each.IdleTimeout, each.MaxHeaderBytes = readHeaderTimeout, idleTimeout, maxHeaderBytes
	}
	if g.listener != nil {
		server.Listener = g.listener
	}
	server.Any("/*", echo.WrapHandler(g.handler))
}
