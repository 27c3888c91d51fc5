package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// addOwnValue lets hot answer a request for the values of one of its external labels, where cold does
// not. Hot's series lack the label, but all of them have one value of it in cold: so hot is asked
// whether it has a series that match[] selects. It reports whether hot can have one.
func (p *Plan) addOwnValue(added map[string]string) bool {
	request := p.query.Request
	value, is := added[request.Label]
	if !is || value == "" {
		return false
	}
	presence, err := presenceRequest(request, added)
	if err != nil {
		return false // relabelMatchers says why.
	}
	p.hot, p.ownValue = presence, value
	p.Input.HasOwnValue = true
	p.Input.Unlabelled = tier.Note{
		Detail: "hot has only its own value of its external label " + request.Label, Public: promql.ErrNotRewritable.Error(),
	}.For(p.Input.Detailed)
	return true
}

// presenceRequest returns a request whose answer is an empty list if no series with the added labels
// matches any match[]. It returns an error if none can match.
func presenceRequest(request *promapi.Request, added map[string]string) (*promapi.Request, error) {
	selectors, err := matchesOf(request)
	if err != nil {
		return nil, err
	}
	var matches []string
	isAny := len(selectors) == 0
	for _, selector := range selectors {
		relabelled, notOfHot := selector.WithLabels(added)
		if notOfHot != nil {
			err = notOfHot
			continue
		}
		isAny = isAny || selectsAll(relabelled)
		matches = append(matches, relabelled.String())
	}
	if len(matches) == 0 && !isAny {
		return nil, err
	}
	made := *request
	made.Label, made.Endpoint, made.Path = "", promapi.Series, "/api/v1/series"
	if isAny {
		// To find one of all series, a Prometheus goes through all of them. Their label names are in its index.
		made.Endpoint, made.Path, matches = promapi.Labels, "/api/v1/labels", nil
	}
	return made.With(url.Values{"match[]": matches, "limit": {"1"}}), nil
}

// selectsAll reports whether a selector matches all series that have a name.
func selectsAll(selector promql.Selector) bool {
	return len(selector) == 1 && selector[0].Name == model.MetricNameLabel && selector[0].Type == labels.MatchNotEqual && selector[0].Value == ""
}

// setOwnValue replaces an answer of hot to a presenceRequest by the values of the label. It returns
// upstream.ErrNotPrometheus for what is no such answer, or the error of reading it.
func (r *Response) setOwnValue(value string) error {
	if r.Status >= http.StatusMultipleChoices {
		return nil
	}
	body, err := r.plain()
	if err != nil {
		return err
	}
	var start bytes.Buffer
	isPresent, err := hasElement(io.TeeReader(io.LimitReader(body, maxPresenceBytes), &start))
	switch {
	case err != nil:
		return err
	case isPresent:
		// What else the answer says, such as that it was limited, is not about the values.
		r.setJSON(map[string]any{"status": "success", "data": []string{value}})
	default:
		r.setHeader()
		r.ContentLength = -1
		r.readFrom(io.MultiReader(&start, body)) // It may have warnings.
	}
	return nil
}

// maxPresenceBytes bounds what is read of an answer until its list begins, in bytes.
const maxPresenceBytes = 64 << 10

// hasElement reports whether the data of a successful answer is a list with an element. It reads no
// further than it needs to.
func hasElement(body io.Reader) (bool, error) {
	decoder := json.NewDecoder(body)
	next := func(expected json.Token) error {
		token, err := decoder.Token()
		if err == nil && token != expected {
			err = fmt.Errorf("%w: %v instead of %v", upstream.ErrNotPrometheus, token, expected)
		}
		return err
	}
	isPresent, isFound, err := false, false, next(json.Delim('{'))
	for err == nil && !isFound {
		var member json.Token
		if member, err = decoder.Token(); err != nil {
			break
		}
		switch member {
		case "status":
			err = next("success")
		case "data":
			isFound = true
			if err = next(json.Delim('[')); err != nil {
				break
			}
			if isPresent = decoder.More(); !isPresent {
				err = next(json.Delim(']'))
			}
		default:
			var skipped json.RawMessage
			err = decoder.Decode(&skipped)
		}
	}
	if _, isSyntax := errors.AsType[*json.SyntaxError](err); isSyntax || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: %w", upstream.ErrNotPrometheus, err)
	}
	return isPresent, err
}
