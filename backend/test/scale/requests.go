package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// counter is a metric of a server that counts requests, and the labels to tell them
// apart by.
type counter struct {
	metric string
	labels []string
}

// What servers count. Releases of tierproxy without the metric of its own questions
// count none of them: then the requests that arrived at the tiers say how many they were.
var (
	atThanos     = counter{"http_requests_total", []string{"handler"}}
	atPrometheus = counter{"prometheus_http_requests_total", []string{"handler"}}
	byGateways   = counter{"tierproxy_probe_requests_total", []string{"tier", "kind", "outcome"}}
)

// requests returns how many requests there were so far, by what they were: those that
// arrived at the tiers, and the gateways' own ones.
func (w *world) requests(ctx context.Context) (map[string]float64, error) {
	counts := map[string]float64{}
	err := atThanos.add(ctx, counts, "at query:", w.query)
	if err == nil {
		err = atPrometheus.add(ctx, counts, "at hot:", w.hot)
	}
	for _, gateway := range w.gateways {
		if err == nil {
			err = byGateways.add(ctx, counts, "of gateways:", gateway)
		}
	}
	return counts, err
}

// add adds what a server counts.
func (c counter) add(ctx context.Context, counts map[string]float64, prefix string, server *stack.Server) error {
	status, text, err := stack.Get(ctx, server.URL+"/metrics", nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	if err == nil {
		err = c.addFrom(counts, prefix, bytes.NewReader(text))
	}
	if err != nil {
		return fmt.Errorf("read %s/metrics: %w", server.URL, err)
	}
	return nil
}

// addFrom adds what the text of metrics says, except for requests for metrics.
func (c counter) addFrom(counts map[string]float64, prefix string, text io.Reader) error {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return err
	}
	for _, metric := range families[c.metric].GetMetric() {
		values := map[string]string{}
		for _, label := range metric.GetLabel() {
			values[label.GetName()] = label.GetValue()
		}
		words := []string{prefix}
		for _, name := range c.labels {
			words = append(words, values[name])
		}
		if values["handler"] != "/metrics" && values["handler"] != "/-/ready" {
			counts[strings.Join(words, " ")] += metric.GetCounter().GetValue()
		}
	}
	return nil
}
