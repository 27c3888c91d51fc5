package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
)

// checkConfigCommand returns the subcommand check-config.
func checkConfigCommand(streams streams) *cobra.Command {
	return &cobra.Command{
		Use:   "check-config FILE",
		Short: "Check a configuration file and list all of its mistakes",
		Long: "Reads FILE as the server does, overridden by the environment of this command, and lists all mistakes. It does not\n" +
			"use the network: see tierproxy check.",
		Example: "  tierproxy check-config tierproxy.yaml",
		Args: func(_ *cobra.Command, arguments []string) error {
			if len(arguments) != 1 {
				return usageErrorf("name one configuration file")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, arguments []string) error {
			if _, err := config.Load(arguments[0]); err != nil {
				return fmt.Errorf("%s has mistakes:\n%w", arguments[0], err)
			}
			_, err := fmt.Fprintf(streams.out, "%s is valid\n", arguments[0])
			return err
		},
	}
}

// checkCommand returns the subcommand check.
func checkCommand(streams streams) *cobra.Command {
	var file, output string
	var timeout time.Duration
	command := &cobra.Command{
		Use:   "check [--config FILE]",
		Short: "Check Perses and every tier, and report what is wrong and how to fix it",
		Long: "Discovers the tiers as the server does, queries them and Perses with the server's credentials, and prints the findings.\n" +
			"The exit status is 1 if a finding is an error. Run it where the server runs, such as in its pod.",
		Example: "  tierproxy check --config tierproxy.yaml\n  kubectl exec deploy/tierproxy -- /tierproxy check --config /etc/tierproxy/tierproxy.yaml",
		Args:    noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			return check(command.Context(), file, output, timeout, streams)
		},
	}
	defineConfig(command, &file)
	defineOutput(command, &output)
	command.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "Timeout of all checks together.")
	return command
}

func check(ctx context.Context, file, output string, timeout time.Duration, streams streams) error {
	manager, err := startManager(ctx, file, nil, io.Discard) // The findings contain the errors.
	if err != nil {
		return err
	}
	defer func() { _ = manager.Close() }()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	findings := gateway.Diagnose(ctx, manager)
	if output == "json" {
		err = writeJSON(streams.out, findings)
	} else {
		err = writeFindings(streams.out, findings)
	}
	for _, finding := range findings {
		if finding.Severity == gateway.SeverityError {
			return &statusError{statusFailed, err}
		}
	}
	return err
}

func writeFindings(out io.Writer, findings []gateway.Finding) error {
	for _, finding := range findings {
		text := fmt.Sprintf("%-8s %s: %s\n", finding.Severity, finding.Subject, finding.Message)
		if finding.Remedy != "" {
			text += fmt.Sprintf("%-8s %s\n", "", finding.Remedy)
		}
		if _, err := io.WriteString(out, text); err != nil {
			return err
		}
	}
	return nil
}

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
