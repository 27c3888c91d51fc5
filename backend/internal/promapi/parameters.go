package promapi

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// checkParameters checks what Prometheus checks of the parameters that are not
// times, in its words: Thanos overlooks some of them. It returns an Error with
// status 400.
func checkParameters(endpoint Endpoint, parameters url.Values) error {
	switch endpoint {
	case Query, QueryRange, Series, Labels, LabelValues:
		if err := checkLimit(parameters.Get("limit")); err != nil {
			return InvalidParameter("limit", err)
		}
	case Metadata, TargetsMetadata:
		for _, name := range []string{"limit", "limit_per_metric"} {
			if text := parameters.Get(name); text != "" {
				if _, err := strconv.Atoi(text); err != nil {
					return BadData("%s must be a number", name)
				}
			}
		}
	case Rules:
		if kind := strings.ToLower(parameters.Get("type")); kind != "" && kind != "alert" && kind != "record" {
			return InvalidParameter("type", fmt.Errorf("not supported value %q", kind))
		}
		if text := parameters.Get("exclude_alerts"); text != "" {
			if _, err := strconv.ParseBool(text); err != nil {
				return InvalidParameter("exclude_alerts", fmt.Errorf("error converting exclude_alerts: %w", err))
			}
		}
	default:
	}
	return nil
}

func checkLimit(text string) error {
	if text == "" {
		return nil
	}
	limit, err := strconv.Atoi(text)
	if err == nil && limit < 0 {
		err = errors.New("limit must be non-negative")
	}
	return err
}
