// Package remotewrite sends samples to a Prometheus for tests.
package remotewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
)

// Sample returns the sample of a series at a time.
func Sample(of history.Series, at time.Time) prompb.TimeSeries {
	made := prompb.TimeSeries{Labels: prompb.FromLabels(of.Labels, nil)}
	if of.Histogram != nil {
		made.Histograms = []prompb.Histogram{prompb.FromIntHistogram(at.UnixMilli(), of.Histogram(at.UnixMilli()))}
	} else {
		made.Samples = []prompb.Sample{{Timestamp: at.UnixMilli(), Value: of.Value(at.UnixMilli())}}
	}
	return made
}

// Labelled returns the samples of series that have more labels.
func Labelled(list []prompb.TimeSeries, more map[string]string) (all []prompb.TimeSeries) {
	for _, each := range list {
		builder := labels.NewBuilder(each.ToLabels(&labels.ScratchBuilder{}, nil))
		for name, value := range more {
			builder.Set(name, value)
		}
		each.Labels = prompb.FromLabels(builder.Labels(), nil)
		all = append(all, each)
	}
	return all
}

// Send sends samples to the Prometheus at a base URL. It returns an error if that refuses one of them.
func Send(ctx context.Context, base string, samples []prompb.TimeSeries) error {
	text, err := (&prompb.WriteRequest{Timeseries: samples}).Marshal()
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/api/v1/write", bytes.NewReader(snappy.Encode(nil, text)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	request.Header.Set("Content-Encoding", "snappy")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil || response.StatusCode < http.StatusMultipleChoices {
		return err
	}
	return fmt.Errorf("status %d: %s", response.StatusCode, answer)
}
