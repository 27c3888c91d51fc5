package promapi

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
)

// TimeRange is what a request says about time.
type TimeRange struct {
	// Start and End bound the evaluation times of a query, or the time range
	// of a metadata request. Start is the zero time where a metadata request
	// reaches back to the beginning. They are equal for instant queries, and
	// both are the time of the request where the request names none.
	Start, End time.Time
	// Step is the step of a range query, otherwise zero.
	Step time.Duration
	// LookbackDelta is the lookback delta that the request asks for, or zero.
	LookbackDelta time.Duration
	// Timeout is the evaluation timeout that the request asks for, or zero.
	Timeout time.Duration
}

// Prometheus accepts these two for its minimum and maximum time.
const (
	minTimeFormatted = "-292273086-05-16T16:47:06Z"
	maxTimeFormatted = "292277025-08-18T07:12:54.999999999Z"
)

// earliest and latest keep arithmetic on timestamps in milliseconds far from
// its overflow, which would turn the distant past into the future: more than
// 30,000 years on either side of 1970.
var (
	earliest = time.UnixMilli(-1 << 50)
	latest   = time.UnixMilli(1 << 50)
)

// timeReader reads the parameters of times. It keeps the first error.
type timeReader struct {
	parameters url.Values
	err        error
}

func (r *timeReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *timeReader) time(name string, target *time.Time, isRequired bool) {
	text := r.parameters.Get(name)
	if text == "" && !isRequired {
		return
	}
	var err error
	if *target, err = parseTime(text); err != nil {
		if !isRequired {
			err = fmt.Errorf("invalid time value for '%s': %w", name, err)
		}
		r.fail(InvalidParameter(name, err))
	}
}

func (r *timeReader) duration(name string, target *time.Duration, isRequired bool) {
	text := r.parameters.Get(name)
	if text == "" && !isRequired {
		return
	}
	var err error
	if *target, err = parseDuration(text); err != nil && name == "lookback_delta" {
		r.fail(BadData("error parsing lookback delta duration: %s", err))
	} else if err != nil {
		r.fail(InvalidParameter(name, err))
	}
}

func parseTimeRange(endpoint Endpoint, parameters url.Values, now time.Time) (TimeRange, error) {
	read, times := &timeReader{parameters: parameters}, TimeRange{Start: now, End: now}
	switch endpoint.Traits().Times {
	case OneTime:
		read.time("time", &times.Start, false)
		times.End = times.Start
	case EachStep:
		read.time("start", &times.Start, true)
		read.time("end", &times.End, true)
		read.duration("step", &times.Step, true)
		if times.End.Before(times.Start) {
			read.fail(BadData(`invalid parameter "end": end timestamp must not be before start time`))
		}
		if times.Step <= 0 {
			read.fail(BadData(`invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive integer`))
		}
	case TimeBounds:
		times.Start = time.Time{}
		read.time("start", &times.Start, false)
		read.time("end", &times.End, false)
		if times.End.Before(times.Start) && endpoint == QueryExemplars {
			read.fail(BadData("end timestamp must not be before start timestamp"))
		} else if times.End.Before(times.Start) {
			read.fail(BadData(`invalid parameter "end": end timestamp must not be before start time`))
		}
	default:
		return times, nil
	}
	read.duration("timeout", &times.Timeout, false)
	read.duration("lookback_delta", &times.LookbackDelta, false)
	return times, read.err
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

// FormatTime writes seconds since the Unix epoch with three decimals, without
// the rounding of a floating-point number: the resolution of timestamps in
// Prometheus, which cuts off what is finer.
func FormatTime(at time.Time) string {
	milliseconds := at.UnixMilli()
	sign := ""
	if milliseconds < 0 {
		sign, milliseconds = "-", -milliseconds
	}
	return fmt.Sprintf("%s%d.%03d", sign, milliseconds/1000, milliseconds%1000)
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

// parseDuration reads a duration as Prometheus does: seconds with a fraction,
// or its own notation such as 1h30m.
func parseDuration(text string) (time.Duration, error) {
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
