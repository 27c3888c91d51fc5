package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/common/model"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/diagnosis"
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

// defaultRanges are time ranges that Perses offers.
const defaultRanges = "15m,1h,6h,1d,7d"

// checkFlags are the flags of check.
type checkFlags struct {
	config, output, ranges, query string
	timeout                       time.Duration
	measure                       bool
}

// checkCommand returns the subcommand check.
func checkCommand(streams streams) *cobra.Command {
	flags := &checkFlags{}
	command := &cobra.Command{
		Use:   "check [--config FILE]",
		Short: "Check Perses and every tier, and report what is wrong and what would be faster",
		Long: "Discovers the tiers as the server does, queries them and Perses with the server's credentials, and prints the findings.\n" +
			"The exit status is 1 if a finding is an error. Run it where the server runs, such as in its pod.\n\n" +
			"To recommend a threshold, it measures a query of at most 500 series at both tiers, one after the other: three times\n" +
			"for each range, and less often if the tiers are slow.",
		Example: "  tierproxy check --config tierproxy.yaml\n  kubectl exec deploy/tierproxy -- /tierproxy check --config /etc/tierproxy/tierproxy.yaml",
		Args:    noArguments,
		RunE:    func(command *cobra.Command, _ []string) error { return flags.run(command.Context(), streams) },
	}
	defineConfig(command, &flags.config)
	defineOutput(command, &flags.output)
	define := command.Flags()
	define.DurationVar(&flags.timeout, "timeout", 30*time.Second, "Timeout of all checks together.")
	define.BoolVar(&flags.measure, "measure", true, "Measure how long both tiers take for typical queries.")
	define.StringVar(&flags.ranges, "ranges", defaultRanges, "Time `ranges` of typical queries, separated by commas.")
	define.StringVar(&flags.query, "query", "", "`PromQL` of typical queries, with $__rate_interval and $__interval as in Perses. Empty: tierproxy chooses a query.")
	return command
}

// advice returns the options of diagnosis.Advise.
func (f *checkFlags) advice() (diagnosis.AdviceOptions, error) {
	options := diagnosis.AdviceOptions{Query: f.query, Measure: f.measure}
	for text := range strings.SplitSeq(f.ranges, ",") {
		length, err := model.ParseDuration(strings.TrimSpace(text))
		if err != nil {
			return options, usageErrorf("--ranges: %q is not a duration: write it as in 15m,1h,7d", text)
		}
		options.Ranges = append(options.Ranges, time.Duration(length))
	}
	if err := options.Validate(); err != nil {
		return options, usageErrorf("--ranges, --query: %v", err)
	}
	return options, nil
}

func (f *checkFlags) run(ctx context.Context, streams streams) error {
	if err := checkOutput(f.output); err != nil {
		return err
	}
	options, err := f.advice()
	if err != nil {
		return err
	}
	manager, err := startManager(ctx, f.config, nil, io.Discard) // The findings contain the errors.
	if err != nil {
		return err
	}
	defer func() { _ = manager.Close() }()
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	findings := diagnosis.Diagnose(ctx, manager)
	findings = append(findings, diagnosis.Advise(ctx, manager, options)...)
	if f.output == "json" {
		err = writeJSON(streams.out, findings)
	} else {
		err = writeFindings(streams.out, findings)
	}
	for i := range findings {
		if findings[i].Severity == diagnosis.SeverityError {
			return &statusError{statusFailed, err}
		}
	}
	return err
}

func writeFindings(out io.Writer, findings []diagnosis.Finding) error {
	var text strings.Builder
	for _, finding := range findings {
		fmt.Fprintf(&text, "%-8s %s: %s\n", finding.Severity, finding.Subject, finding.Message)
		if finding.Remedy != "" {
			fmt.Fprintf(&text, "%-8s %s\n", "", finding.Remedy)
		}
		writeMeasurements(&text, finding.Measurements)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// writeMeasurements writes a table below a finding. It writes nothing without measurements.
func writeMeasurements(text *strings.Builder, measurements []diagnosis.Measurement) {
	if len(measurements) == 0 {
		return
	}
	const indent = "         "
	table := tabwriter.NewWriter(text, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(table, indent+"range\tstep\thot\tcold") // It writes to memory.
	for _, each := range measurements {
		name := each.Range
		if each.NewestOf != "" {
			name = "newest " + each.Range + " of " + each.NewestOf
		}
		_, _ = fmt.Fprintf(table, "%s%s\t%s\t%s\t%s\n", indent, name, each.Step, formatSeconds(each, "hot", each.HotSeconds), formatSeconds(each, "cold", each.ColdSeconds))
	}
	_ = table.Flush()
}

// formatSeconds formats how long a tier took.
func formatSeconds(of diagnosis.Measurement, name string, seconds float64) string {
	text := diagnosis.FormatTook(time.Duration(seconds * float64(time.Second)))
	switch {
	case seconds == 0:
		return "-"
	case slices.Contains(of.GaveUp, name):
		return "more than " + text
	}
	return text
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
		return nil, fmt.Errorf("the configuration has mistakes:\n%w", err)
	}
	return manager, manager.Start(ctx)
}
