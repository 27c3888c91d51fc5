package promapi

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
)

// TimeRange is what a request says about time.
type TimeRange struct {
	// Start and End bound the evaluation times of a query, or the time range of a
	// metadata request, where a zero Start means the beginning. They are equal for
	// instant queries. The default is the time of the request.
	Start, End time.Time
	// Step is the step of a range query, otherwise zero.
	Step time.Duration
	// LookbackDelta and Timeout are those of the request, or zero.
	LookbackDelta time.Duration
	Timeout       time.Duration
}

// Prometheus accepts these two for its minimum and maximum time.
const (
	minTimeFormatted = "-292273086-05-16T16:47:06Z"
	maxTimeFormatted = "292277025-08-18T07:12:54.999999999Z"
)

// earliest and latest keep arithmetic on milliseconds from overflowing: more than
// 30,000 years on either side of 1970.
var (
	earliest = time.UnixMilli(-1 << 50)
	latest   = time.UnixMilli(1 << 50)
)

// readParameter reads a parameter with a time or a duration. An optional one that is
// missing leaves the target as it is.
func readParameter[T any](parameters url.Values, name string, isRequired bool, parse func(string) (T, error), target *T) (err error) {
	text := parameters.Get(name)
	if text == "" && !isRequired {
		return nil
	}
	*target, err = parse(text)
	switch {
	case err == nil:
		return nil
	case name == "lookback_delta":
		return BadData("error parsing lookback delta duration: %s", err)
	case !isRequired && name != "timeout":
		err = fmt.Errorf("invalid time value for '%s': %w", name, err)
	}
	return InvalidParameter(name, err)
}

func parseTimeRange(endpoint Endpoint, parameters url.Values, now time.Time) (TimeRange, error) {
	times, of := TimeRange{Start: now, End: now}, endpoint.Traits().Times
	var err error
	switch of {
	case OneTime:
		err = readParameter(parameters, "time", false, parseTime, &times.Start)
		times.End = times.Start
	case EachStep:
		err = cmp.Or(
			readParameter(parameters, "start", true, parseTime, &times.Start),
			readParameter(parameters, "end", true, parseTime, &times.End),
			readParameter(parameters, "step", true, ParseDuration, &times.Step),
		)
	case TimeBounds:
		times.Start = time.Time{}
		err = cmp.Or(
			readParameter(parameters, "start", false, parseTime, &times.Start),
			readParameter(parameters, "end", false, parseTime, &times.End),
		)
	default:
		return times, nil
	}
	switch {
	case err != nil:
	case times.End.Before(times.Start) && endpoint == QueryExemplars:
		err = BadData("end timestamp must not be before start timestamp")
	case times.End.Before(times.Start):
		err = BadData(`invalid parameter "end": end timestamp must not be before start time`)
	case of == EachStep && times.Step <= 0:
		err = BadData(`invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive integer`)
	}
	return times, cmp.Or(err,
		readParameter(parameters, "timeout", false, ParseDuration, &times.Timeout),
		readParameter(parameters, "lookback_delta", false, ParseDuration, &times.LookbackDelta),
	)
}

// parseTime reads a time as Prometheus does: seconds since the Unix epoch with
// a fraction, or RFC 3339.
func parseTime(text string) (time.Time, error) {
	switch text {
	case minTimeFormatted:
		return earliest, nil
	case maxTimeFormatted:
		return latest, nil
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if math.IsNaN(seconds) || math.IsInf(seconds, 0) {
			return time.Time{}, fmt.Errorf("cannot parse %q to a valid timestamp", text)
		}
		return clamp(seconds), nil
	}
	if parsed, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return parsed.UTC(), nil
	}
	return time.Time{}, fmt.Errorf("cannot parse %q to a valid timestamp", text)
}

// FormatTime returns seconds since the Unix epoch with three decimals: the resolution
// of timestamps in Prometheus, which truncates the rest.
func FormatTime(at time.Time) string {
	return strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64)
}

// clamp turns seconds into a time and keeps it within earliest and latest.
func clamp(seconds float64) time.Time {
	switch {
	case seconds <= float64(earliest.Unix()):
		return earliest
	case seconds >= float64(latest.Unix()):
		return latest
	}
	whole, fraction := math.Modf(seconds)
	// Prometheus rounds to milliseconds; its timestamps are no finer.
	return time.Unix(int64(whole), int64(math.Round(fraction*1000))*int64(time.Millisecond)).UTC()
}

// ParseDuration reads a duration as Prometheus does: seconds with a fraction,
// or its own notation such as 1h30m.
func ParseDuration(text string) (time.Duration, error) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		nanoseconds := seconds * float64(time.Second)
		if math.IsNaN(nanoseconds) || math.Abs(nanoseconds) >= float64(math.MaxInt64) {
			return 0, fmt.Errorf("cannot parse %q to a valid duration. It overflows int64", text)
		}
		return time.Duration(nanoseconds), nil
	}
	if parsed, err := model.ParseDuration(text); err == nil {
		return time.Duration(parsed), nil
	}
	return 0, fmt.Errorf("cannot parse %q to a valid duration", text)
}
