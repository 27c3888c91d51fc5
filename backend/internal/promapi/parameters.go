package promapi

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// PagingParameters are those by which a client asks for a part of the rules.
// The union of two servers has no such parts.
var PagingParameters = []string{"group_limit", "group_next_token"}

// The checks of the table of endpoints check what Prometheus checks of the
// parameters that are not times, in its words: Thanos overlooks some of them.
// They return an Error with status 400.

func checkLimit(parameters url.Values) error {
	text := parameters.Get("limit")
	if text == "" {
		return nil
	}
	limit, err := strconv.Atoi(text)
	if err == nil && limit < 0 {
		err = errors.New("limit must be non-negative")
	}
	if err != nil {
		return InvalidParameter("limit", err)
	}
	return nil
}

func checkSeries(parameters url.Values) error {
	if len(parameters["match[]"]) == 0 {
		return BadData("no match[] parameter provided")
	}
	return checkLimit(parameters)
}

func checkNumbers(parameters url.Values) error {
	for _, name := range []string{"limit", "limit_per_metric"} {
		if text := parameters.Get(name); text != "" {
			if _, err := strconv.Atoi(text); err != nil {
				return BadData("%s must be a number", name)
			}
		}
	}
	return nil
}

func checkRules(parameters url.Values) error {
	if kind := strings.ToLower(parameters.Get("type")); kind != "" && kind != "alert" && kind != "record" {
		return InvalidParameter("type", fmt.Errorf("not supported value %q", kind))
	}
	if text := parameters.Get("exclude_alerts"); text != "" {
		if _, err := strconv.ParseBool(text); err != nil {
			return InvalidParameter("exclude_alerts", fmt.Errorf("error converting exclude_alerts: %w", err))
		}
	}
	return nil
}
