package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// ownMetric counts what a gateway asks by itself. Older releases do not have it.
const ownMetric = "tierproxy_own_requests_total"

// ownQuestion is a kind of question that a gateway asks by itself.
type ownQuestion struct{ tier, kind, outcome string }

// ownQuestions returns how many of them the gateways asked so far, by kind.
func (w *world) ownQuestions(ctx context.Context) (map[ownQuestion]float64, error) {
	asked := map[ownQuestion]float64{}
	for _, gateway := range w.gateways {
		status, text, err := stack.Get(ctx, gateway.URL+"/metrics", nil)
		if err != nil {
			return nil, err
		}
		if status != http.StatusOK {
			return nil, fmt.Errorf("read the metrics of a gateway: status %d", status)
		}
		if err := addOwnQuestions(asked, bytes.NewReader(text)); err != nil {
			return nil, err
		}
	}
	return asked, nil
}

// addOwnQuestions adds what the metrics of one gateway say.
func addOwnQuestions(asked map[ownQuestion]float64, text io.Reader) error {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return fmt.Errorf("read the metrics of a gateway: %w", err)
	}
	for _, metric := range families[ownMetric].GetMetric() {
		var question ownQuestion
		for _, label := range metric.GetLabel() {
			switch label.GetName() {
			case "tier":
				question.tier = label.GetValue()
			case "kind":
				question.kind = label.GetValue()
			case "outcome":
				question.outcome = label.GetValue()
			}
		}
		asked[question] += metric.GetCounter().GetValue()
	}
	return nil
}
