package main

import (
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/perses/common/app"
	"github.com/sirupsen/logrus"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
)

// defaultAddress is where tierproxy listens unless it is told otherwise.
const defaultAddress = ":9190"

// options are the flags of tierproxy beside those of the libraries.
type options struct {
	config, adminAddress, clientCA string
	reloadInterval                 time.Duration
	pprof                          bool
}

// defineFlags defines all flags of the server, those of its libraries among
// them.
func defineFlags() *options {
	o := &options{}
	flag.StringVar(&o.config, "config", "", "Path of the YAML configuration `file`. Without it the environment and the defaults count.")
	flag.DurationVar(&o.reloadInterval, "config.auto-reload-interval", 5*time.Second, "How often to look whether the configuration file has changed. 0s: never, it is read again on SIGHUP only.")
	flag.StringVar(&o.adminAddress, "web.admin-address", "", "An `address` of its own for /metrics, --web.enable-pprof and what changes state. Without it /metrics is on the main address.")
	flag.BoolVar(&o.pprof, "web.enable-pprof", false, "Serve /debug/pprof/ on the admin address.")
	flag.StringVar(&o.clientCA, "web.tls-client-ca-file", "", "The path to the authorities of client certificates. A client need not show one, but what takes a certificate refuses those that do not.")
	app.InitFlag()
	if err := useDefaultAddress(); err != nil {
		panic(err) // The library has no such flag any more.
	}
	return o
}

// useDefaultAddress gives the listen address of the server library the
// default of tierproxy.
func useDefaultAddress() error {
	listen := flag.Lookup("web.listen-address")
	listen.DefValue = defaultAddress
	return listen.Value.Set(defaultAddress)
}

func value(name string) string { return flag.Lookup(name).Value.String() }

// read returns the configuration as it is now, or all mistakes that it and the
// flags have.
func (o *options) read() (config.Config, error) {
	settings, err := config.Load(o.config)
	if err = errors.Join(o.mistakes(&settings), err); err != nil {
		return settings, fmt.Errorf("the configuration has mistakes:\n%w", err)
	}
	return settings, nil
}

// mistakes lists what the libraries behind the flags would pass over: they
// fall back to a default, and with half of a certificate to plain HTTP.
func (o *options) mistakes(settings *config.Config) error {
	var mistakes []error
	if _, err := logrus.ParseLevel(value("log.level")); err != nil {
		mistakes = append(mistakes, fmt.Errorf("--log.level: %q is none of panic, fatal, error, warning, info, debug, trace", value("log.level")))
	}
	if format := value("log.format"); format != "text" && format != "json" {
		mistakes = append(mistakes, fmt.Errorf("--log.format: %q is neither text nor json", format))
	}
	certificate, key := value("web.tls-cert-file"), value("web.tls-key-file")
	if (certificate == "") != (key == "") {
		mistakes = append(mistakes, errors.New("--web.tls-cert-file, --web.tls-key-file: set both, or neither for plain HTTP"))
	}
	if o.clientCA != "" && certificate == "" {
		mistakes = append(mistakes, errors.New("--web.tls-client-ca-file: has no effect without --web.tls-cert-file"))
	}
	if o.clientCA == "" && len(settings.DefaultDatasource.ClientNames)+len(settings.Perses.Service.ClientNames) > 0 {
		mistakes = append(mistakes, errors.New("default_datasource.client_names, perses.service.client_names: no client can show a certificate without --web.tls-client-ca-file"))
	}
	if o.reloadInterval < 0 {
		mistakes = append(mistakes, errors.New("--config.auto-reload-interval: must not be negative"))
	}
	if o.pprof && o.adminAddress == "" {
		mistakes = append(mistakes, errors.New("--web.enable-pprof: set --web.admin-address, profiles are for the operator only"))
	}
	_, err := tlsBase(value("web.tls-min-version"), value("web.tls-max-version"), value("web.tls-cipher-suites"))
	return errors.Join(append(mistakes, err)...)
}

// tlsFiles returns what the flags say about TLS; nil for plain HTTP.
func (o *options) tlsFiles() (*tlsFiles, error) {
	if value("web.tls-cert-file") == "" {
		return nil, nil //nolint:nilnil // Plain HTTP.
	}
	base, err := tlsBase(value("web.tls-min-version"), value("web.tls-max-version"), value("web.tls-cipher-suites"))
	if err != nil {
		return nil, err
	}
	files := &tlsFiles{certificate: value("web.tls-cert-file"), key: value("web.tls-key-file"), clientCA: o.clientCA, base: base}
	_, err = files.config()
	return files, err
}
