package webui

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Options say what to serve.
type Options struct {
	// Address to listen on, such as 127.0.0.1:3000; port 0 picks a free one.
	Address string
	// Page is the directory of the built page.
	Page string
	// Perses is the base URL of the Perses server. Its API and its proxy are
	// reached through this server.
	Perses string
	// Plugins is the directory into which Perses unpacked its modules.
	Plugins string
	// Modules are served from their own directories.
	Modules []Module
}

// Server is a running one.
type Server struct {
	// URL is its base URL.
	URL string

	server *http.Server
	ended  chan struct{}
}

// Serve starts a server.
func Serve(ctx context.Context, options Options) (*Server, error) {
	handler, err := newHandler(options)
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", options.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for the page: %w", err)
	}
	s := &Server{
		URL:    "http://" + listener.Addr().String(),
		server: &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second},
		ended:  make(chan struct{}),
	}
	go func() {
		defer close(s.ended)
		_ = s.server.Serve(listener) // It returns when Close is called.
	}()
	return s, nil
}

// Close stops serving.
func (s *Server) Close() error {
	err := s.server.Close()
	<-s.ended
	return err
}

func newHandler(options Options) (http.Handler, error) {
	perses, err := url.Parse(options.Perses)
	if err != nil {
		return nil, fmt.Errorf("serve the page: %w", err)
	}
	index := filepath.Join(options.Page, "index.html")
	if _, err := os.Stat(index); err != nil {
		return nil, fmt.Errorf("serve the page: it is not built: %w", err)
	}
	mux := http.NewServeMux()
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(request *httputil.ProxyRequest) { request.SetURL(perses) },
		Transport: WholeAnswers{http.DefaultTransport},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if !errors.Is(err, context.Canceled) {
				http.Error(w, "Perses cannot be reached: "+err.Error(), http.StatusBadGateway)
			}
		},
	}
	mux.Handle("/api/", proxy)
	mux.Handle("/proxy/", proxy)
	directories, err := moduleDirectories(options)
	if err != nil {
		return nil, err
	}
	for name, directory := range directories {
		prefix := "/plugins/" + name + "/"
		mux.Handle(prefix, http.StripPrefix(prefix, http.FileServer(http.Dir(directory))))
	}
	mux.Handle("/plugins/", http.NotFoundHandler())
	mux.Handle("/static/", http.FileServer(http.Dir(options.Page)))
	// Every other path is one of the page's own.
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		http.ServeFile(w, r, index)
	})
	return mux, nil
}

// moduleDirectories returns where the files of each module are. Modules in the
// directory of Perses are named in their manifest; the directory itself also
// has the version in its name.
func moduleDirectories(options Options) (map[string]string, error) {
	directories := map[string]string{}
	manifests, err := filepath.Glob(filepath.Join(options.Plugins, "*", "mf-manifest.json"))
	if err != nil {
		return nil, fmt.Errorf("look for the modules of Perses: %w", err)
	}
	for _, file := range manifests {
		var manifest struct {
			Name string `json:"name"`
		}
		if err := readJSON(file, &manifest); err != nil {
			return nil, err
		}
		if manifest.Name == "" || strings.ContainsAny(manifest.Name, "/{} ") {
			return nil, fmt.Errorf("the module in %s has a name that no path can have: %q", file, manifest.Name)
		}
		directories[manifest.Name] = filepath.Dir(file)
	}
	for _, module := range options.Modules {
		directories[module.Name] = module.Directory
	}
	return directories, nil
}
