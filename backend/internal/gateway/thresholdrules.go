package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// alertingRule is an alerting rule in an answer of the rules endpoint.
type alertingRule struct {
	Type     string            `json:"type"`
	Name     string            `json:"name"`
	Query    string            `json:"query"`
	Duration float64           `json:"duration"`
	Labels   map[string]string `json:"labels"`
	// Annotations are an object, as the tier has written it.
	Annotations json.RawMessage `json:"annotations"`
	State       string          `json:"state"`
}

// size is how many bytes the rule takes.
func (r *alertingRule) size() int64 {
	size := perRule + len(r.Name) + len(r.Query) + len(r.Annotations)
	for name, value := range r.Labels {
		size += perLabel + len(name) + len(value)
	}
	return int64(size)
}

// ruleGroup is a group of rules in an answer of the rules endpoint.
type ruleGroup struct {
	name, file string
	// tier is empty if one tier has answered. source are the external labels of the Prometheus,
	// if there are others.
	tier, source string
	// rules are those that the request selects, and that the caller may read.
	rules []*alertingRule
}

// pins returns the external labels of the Prometheus that evaluates the rules; nil if there
// are no others, or if a fan-out server lists the rules of several.
func (g *ruleGroup) pins() map[string]string {
	text, isSet := strings.CutPrefix(g.source, "{")
	if !isSet {
		return nil
	}
	pins, err := promql.ParseLabels(strings.TrimSuffix(text, "}"))
	if err != nil {
		return nil
	}
	return pins
}

// readAll reads an answer of the rules endpoint.
func (l *thresholdList) readAll(ctx context.Context, text []byte) error {
	defer func() {
		if l.release != nil {
			l.release()
		}
	}()
	if len(text) >= heavyRules {
		if err := l.takeTurn(); err != nil {
			return err
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	err := members(decoder, func(name string) error {
		switch name {
		case "warnings":
			return decoder.Decode(&l.warnings)
		case "isPartial":
			var isPartial bool
			if err := decoder.Decode(&isPartial); err == nil && isPartial {
				l.warnings = append(l.warnings, promapi.PartialWarning)
			}
			return nil
		case "data":
			return members(decoder, func(name string) error {
				if name != "groups" {
					return skipValue(decoder)
				}
				return elements(decoder, func() error {
					group, err := l.readGroup(decoder)
					if err == nil {
						err = l.add(ctx, group)
					}
					return err
				})
			})
		}
		return skipValue(decoder)
	})
	if _, is := errors.AsType[*promapi.Error](err); is || err == nil {
		return err
	}
	return &promapi.Error{Status: http.StatusBadGateway, Type: promapi.ErrorInternal, Message: errNotRules.Message, Cause: err}
}

// readGroup reads a group. Rules that the request does not select, or that the caller may not
// read, leave no trace.
func (l *thresholdList) readGroup(decoder *json.Decoder) (*ruleGroup, error) {
	group := &ruleGroup{}
	texts := map[string]*string{"name": &group.name, "file": &group.file, "tier": &group.tier, "source": &group.source}
	return group, members(decoder, func(name string) error {
		if text, is := texts[name]; is {
			return decoder.Decode(text)
		}
		if name != "rules" {
			return skipValue(decoder)
		}
		return elements(decoder, func() error {
			rule := &alertingRule{}
			if err := decoder.Decode(rule); err != nil {
				return err
			}
			if rule.Type != "alerting" || (l.rule != nil && !l.rule.AllowsRule(rule.Labels)) || !l.filter.selects(rule) {
				return nil
			}
			group.rules = append(group.rules, rule)
			return l.acquire(rule.size())
		})
	})
}

// members calls member for the name of each member of the object that the decoder is at. It has
// to decode the value.
func members(decoder *json.Decoder, member func(name string) error) error {
	return within(decoder, '{', func() error {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		return member(name)
	})
}

// elements calls element for each element of the list that the decoder is at, or of null.
func elements(decoder *json.Decoder, element func() error) error {
	return within(decoder, '[', element)
}

func within(decoder *json.Decoder, start json.Delim, next func() error) error {
	token, err := decoder.Token()
	if err != nil || token == nil {
		return err
	}
	if token != start {
		return errNotRules
	}
	for decoder.More() {
		if err := next(); err != nil {
			return err
		}
	}
	_, err = decoder.Token()
	return err
}

func skipValue(decoder *json.Decoder) error {
	var skipped json.RawMessage
	return decoder.Decode(&skipped)
}

var errNotRules = promapi.Errorf(http.StatusBadGateway, promapi.ErrorInternal, "the tier's answer is not one of the rules endpoint")
