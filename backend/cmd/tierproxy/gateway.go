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
	// writeTimeout bounds answers for which no handler sets a deadline.
	writeTimeout = 2 * time.Minute
	// stuckTimeout is how long a connection of HTTP/2 is kept whose client takes no
	// byte. The deadlines of its streams do not end such a connection.
	stuckTimeout = 30 * time.Second
)

// bound sets the limits of connections on a server. The handlers of requests set
// their own deadlines for reading and writing; the write timeout is for what they
// leave to the server.
func bound(server *http.Server) {
	server.ReadHeaderTimeout, server.IdleTimeout, server.WriteTimeout = readHeaderTimeout, idleTimeout, writeTimeout
	server.MaxHeaderBytes = maxHeaderBytes
	server.HTTP2 = &http.HTTP2Config{WriteByteTimeout: stuckTimeout}
}

// urlSpace puts the whole URL space of the gateway into the server of Perses'
// library.
type urlSpace struct {
	handler http.Handler
	// listener speaks TLS; nil where the library listens, without.
	listener net.Listener
}

// RegisterRoute implements the server library's Register.
func (g urlSpace) RegisterRoute(server *echo.Echo) {
	for _, each := range []*http.Server{server.Server, server.TLSServer} {
		bound(each)
	}
	if g.listener != nil {
		server.Listener = g.listener
	}
	server.Any("/*", echo.WrapHandler(g.handler))
}
