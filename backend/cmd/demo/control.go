package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/embedded"
)

// control lets scripts/demo-control break and heal the tiers of a running demo. The path of
// its URL holds a secret, so that no page in a browser can do that.
type control struct {
	// tiers are those that can be broken, by name.
	tiers map[string]*embedded.Prometheus

	url, file string
	server    *http.Server
	served    chan struct{} // closed when the server has ended
}

// startControl serves the control on loopback, and writes its URL to a file. If the file is
// there, an older demo wrote it: the newest one is controlled.
func startControl(ctx context.Context, file string, tiers map[string]*embedded.Prometheus) (*control, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for demo-break and demo-heal: %w", err)
	}
	secret := rand.Text()
	c := &control{tiers: tiers, url: fmt.Sprintf("http://%s/%s", listener.Addr(), secret), file: file, served: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /"+secret+"/break/{tier}", answer(c.breakTier))
	mux.HandleFunc("POST /"+secret+"/heal", answer(c.heal))
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(c.served)
		_ = c.server.Serve(listener) // It returns when close is called.
	}()
	if err := os.WriteFile(file, []byte(c.url+"\n"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("write the address for demo-break and demo-heal: %w", err), c.close())
	}
	return c, nil
}

// close ends the server, and removes the file unless another demo has written it anew.
func (c *control) close() error {
	err := c.server.Close()
	<-c.served
	if text, readError := os.ReadFile(c.file); readError == nil && strings.TrimSpace(string(text)) == c.url {
		err = errors.Join(err, os.Remove(c.file))
	}
	return err
}

// answer is a handler that returns the text of a function, or 400 and its error.
func answer(do func(*http.Request) (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		text, err := do(r)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			text = err.Error()
		}
		_, _ = fmt.Fprintln(w, text) // A client that went away reads nothing.
	}
}

// breakTier lets a tier refuse connections.
func (c *control) breakTier(r *http.Request) (string, error) {
	name := r.PathValue("tier")
	tier, known := c.tiers[name]
	if !known {
		return "", fmt.Errorf("there is no tier %q: use one of %s", name, strings.Join(slices.Sorted(maps.Keys(c.tiers)), ", "))
	}
	if err := tier.Disconnect(); err != nil {
		return "", fmt.Errorf("break %s: %w", name, err)
	}
	what := "Queries of its cluster go to cold now: refresh a dashboard, and read the notices of its panels."
	if name == coldName {
		what = "Hot answers now, with a warning where samples are missing: refresh a dashboard, and read the notices of its panels."
	}
	return fmt.Sprintf("%s (%s) refuses connections. %s\nmake demo-heal lets it answer again.", name, tier.URL, what), nil
}

// heal lets all tiers answer again.
func (c *control) heal(*http.Request) (string, error) {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.tiers)) {
		if err := c.tiers[name].Reconnect(); err != nil {
			errs = append(errs, fmt.Errorf("heal %s: %w", name, err))
		}
	}
	return "All tiers answer again. tierproxy notices within seconds.", errors.Join(errs...)
}
