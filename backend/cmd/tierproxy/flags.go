package main

import (
	"errors"
	"flag"
	"fmt"

	"github.com/sirupsen/logrus"
)

// defaultAddress is where tierproxy listens unless it is told otherwise.
const defaultAddress = ":9190"

// useDefaultAddress gives the listen address of the server library the
// default of tierproxy.
func useDefaultAddress() {
	listen := flag.Lookup("web.listen-address")
	listen.DefValue = defaultAddress
	if err := listen.Value.Set(defaultAddress); err != nil {
		exit(fmt.Errorf("set the default listen address: %w", err))
	}
}

// flagMistakes lists what the libraries behind the flags would pass over: they
// fall back to a default, and with half of a certificate to plain HTTP.
func flagMistakes() error {
	value := func(name string) string { return flag.Lookup(name).Value.String() }
	var mistakes []error
	if _, err := logrus.ParseLevel(value("log.level")); err != nil {
		mistakes = append(mistakes, fmt.Errorf("--log.level: %q is none of panic, fatal, error, warning, info, debug, trace", value("log.level")))
	}
	if format := value("log.format"); format != "text" && format != "json" {
		mistakes = append(mistakes, fmt.Errorf("--log.format: %q is neither text nor json", format))
	}
	if (value("web.tls-cert-file") == "") != (value("web.tls-key-file") == "") {
		mistakes = append(mistakes, errors.New("--web.tls-cert-file, --web.tls-key-file: set both, or neither for plain HTTP"))
	}
	return errors.Join(mistakes...)
}
