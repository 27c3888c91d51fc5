package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"time"

	"github.com/perses/common/app"
	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
)

// defaultAddress is the default of --web.listen-address.
const defaultAddress = ":9190"

// options are the flags of tierproxy, except those of libraries.
type options struct {
	config, adminAddress, clientCA string
	reloadInterval, shutdownDelay  time.Duration
	pprof                          bool
}

// defineFlags defines the flags of the server, including those of its libraries.
func defineFlags() *options {
	o := &options{}
	flag.StringVar(&o.config, "config", "", "Path of the YAML configuration `file`. Empty: the environment and the defaults.")
	flag.DurationVar(&o.reloadInterval, "config.auto-reload-interval", 5*time.Second, "Interval of checks whether the configuration file has changed. 0s: reload on SIGHUP only.")
	flag.StringVar(&o.adminAddress, "web.admin-address", "", "Separate `address` for /metrics, --web.enable-pprof and endpoints that change the state. Empty: /metrics is on the main address.")
	flag.DurationVar(&o.shutdownDelay, "web.shutdown-delay", 0, "How long to serve on after SIGTERM or SIGINT, while /-/ready answers with status 503. A second signal ends the delay.")
	flag.BoolVar(&o.pprof, "web.enable-pprof", false, "Serve /debug/pprof/ on the admin address.")
	flag.StringVar(&o.clientCA, "web.tls-client-ca-file", "", "Path of the CA certificates that verify client certificates. Only what requires a certificate rejects clients without one.")
	app.InitFlag()
	address := flag.Lookup("web.listen-address")
	address.DefValue = defaultAddress
	if err := address.Value.Set(defaultAddress); err != nil {
		panic(err) // A string flag accepts every value.
	}
	return o
}

func value(name string) string { return flag.Lookup(name).Value.String() }

// read returns the current configuration. It returns all mistakes in the flags and the
// configuration, joined. The exit status of the error is that of a wrong command line if a
// flag is wrong.
func (o *options) read() (config.Config, error) {
	settings, err := config.Load(o.config)
	err = errors.Join(o.validateClientNames(&settings), err)
	switch usage := o.validate(); {
	case usage != nil && err != nil:
		return settings, usageErrorf("the command line and the configuration have mistakes:\n%w", errors.Join(usage, err))
	case usage != nil:
		return settings, usageErrorf("the command line has mistakes:\n%w", usage)
	case err != nil:
		return settings, fmt.Errorf("the configuration has mistakes:\n%w", err)
	}
	return settings, nil
}

// validateClientNames returns an error if the configuration has names of client certificates
// and the flags have no CA for them.
func (o *options) validateClientNames(settings *config.Config) error {
	if o.clientCA == "" && len(settings.DefaultDatasource.ClientNames)+len(settings.Perses.Service.ClientNames) > 0 {
		return errors.New("default_datasource.client_names, perses.service.client_names: no client can show a certificate without --web.tls-client-ca-file")
	}
	return nil
}

// validateAddress returns an error for an address that tierproxy cannot listen on. It does
// not resolve the host.
func validateAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.DefaultResolver.LookupPort(context.Background(), "tcp", port)
	}
	if err != nil {
		return fmt.Errorf("%q is not an address: write host:port or :port, with a port up to 65535", address)
	}
	return nil
}

// validate returns the mistakes in the flags, joined. The libraries would ignore them: they
// use a default instead, and plain HTTP without a key.
func (o *options) validate() error {
	var mistakes []error
	add := func(isWrong bool, format string, arguments ...any) {
		if isWrong {
			mistakes = append(mistakes, fmt.Errorf(format, arguments...))
		}
	}
	_, err := logrus.ParseLevel(value("log.level"))
	add(err != nil, "--log.level: %q is none of panic, fatal, error, warning, info, debug, trace", value("log.level"))
	format := value("log.format")
	add(format != "text" && format != "json", "--log.format: %q is neither text nor json", format)
	err = validateAddress(value("web.listen-address"))
	add(err != nil, "--web.listen-address: %w", err)
	err = validateAddress(o.adminAddress)
	add(err != nil && o.adminAddress != "", "--web.admin-address: %w", err)
	certificate, key := value("web.tls-cert-file"), value("web.tls-key-file")
	add((certificate == "") != (key == ""), "--web.tls-cert-file, --web.tls-key-file: set both, or neither for plain HTTP")
	add(o.clientCA != "" && certificate == "", "--web.tls-client-ca-file: has no effect without --web.tls-cert-file")
	add(o.reloadInterval < 0, "--config.auto-reload-interval: must not be negative")
	add(o.shutdownDelay < 0, "--web.shutdown-delay: must not be negative")
	add(o.pprof && o.adminAddress == "", "--web.enable-pprof: set --web.admin-address, profiles are for the operator only")
	_, err = tlsBase()
	return errors.Join(append(mistakes, err)...)
}

// tlsFiles returns the files of the TLS flags, or nil for plain HTTP. It returns an error if
// it cannot use them.
func (o *options) tlsFiles() (*tlsFiles, error) {
	if value("web.tls-cert-file") == "" {
		return nil, nil //nolint:nilnil // Plain HTTP.
	}
	base, _ := tlsBase() // validate reports its mistakes.
	files := &tlsFiles{certificate: value("web.tls-cert-file"), key: value("web.tls-key-file"), clientCA: o.clientCA, base: base}
	_, err := files.config()
	return files, err
}
