package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/gateway"
)

// checkCommand is the subcommand check.
func checkCommand(streams streams) *cobra.Command {
	var file, output string
	var timeout time.Duration
	command := &cobra.Command{
		Use:   "check [--config FILE]",
		Short: "Ask Perses and every tier, and tell what is wrong and how to mend it",
		Long: "Finds the tiers of the configuration as the server does, asks them and Perses with the server's credentials, and prints\n" +
			"what was found. The exit status is 1 where a finding is an error. Run it where the server runs, in its pod for example.",
		Example: "  tierproxy check --config tierproxy.yaml\n  kubectl exec deploy/tierproxy -- /tierproxy check --config /etc/tierproxy/tierproxy.yaml",
		Args:    noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return usageErrorf("--output: %q is neither text nor json", output)
			}
			return check(command.Context(), file, output, timeout, streams)
		},
	}
	command.Flags().StringVar(&file, "config", "", "Path of the YAML configuration `file`. Without it the environment and the defaults count.")
	command.Flags().StringVar(&output, "output", "text", "What to print: text or json.")
	command.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "How long to look.")
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)) // The flag exists.
	return command
}

func check(ctx context.Context, file, output string, timeout time.Duration, streams streams) error {
	settings, err := config.Load(file)
	if err != nil {
		return fmt.Errorf("the configuration has mistakes:\n%w", err)
	}
	local, err := startLocal(ctx, settings, io.Discard) // What is wrong is among the findings.
	if err != nil {
		return err
	}
	defer func() { _ = local.Close() }()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	findings := gateway.Diagnose(ctx, local.Manager)
	if output == "json" {
		encoder := json.NewEncoder(streams.out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		err = encoder.Encode(findings)
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
		if _, err := fmt.Fprintf(out, "%-8s %s: %s\n", finding.Severity, finding.Subject, finding.Message); err != nil {
			return err
		}
		if finding.Remedy == "" {
			continue
		}
		if _, err := fmt.Fprintf(out, "%-8s %s\n", "", finding.Remedy); err != nil {
			return err
		}
	}
	return nil
}
