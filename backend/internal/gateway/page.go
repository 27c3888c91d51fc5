package gateway

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/version"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"time":   formatPageTime,
	"labels": labelText,
	"milliseconds": func(seconds float64) string {
		return fmt.Sprintf("%.1f ms", seconds*1000)
	},
}).Parse(pageText))

// page is what the page for people shows.
type page struct {
	Title   string
	Health  resolve.Health
	Tiers   []pageTier
	Version string
	// HealthPath is where programs find the same.
	HealthPath string
	Now        time.Time
}

type pageTier struct {
	Name tier.Name
	resolve.TierHealth
	Service *resolve.ServiceHealth
}

// servePage shows the health of a datasource to people, on a page that loads
// nothing from elsewhere.
func (g *Gateway) servePage(w http.ResponseWriter, incoming *http.Request, title string, health resolve.Health) {
	shown := page{
		Title: strings.ToUpper(title[:1]) + title[1:], Health: health, Version: version.Version,
		HealthPath: strings.TrimPrefix(healthPath, "/"), Now: time.Now(),
	}
	for _, name := range tier.Names() {
		one := pageTier{Name: name, TierHealth: health.Tiers[string(name)]}
		if service, found := health.Services[string(name)]; found {
			one.Service = &service
		}
		if one.Endpoint != "" || one.Service != nil {
			shown.Tiers = append(shown.Tiers, one)
		}
	}
	var body bytes.Buffer
	if err := pageTemplate.Execute(&body, shown); err != nil {
		g.fail(w, incoming, err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
	_, _ = w.Write(body.Bytes()) // The client may be gone, which concerns nobody here.
}

// formatPageTime writes a time and how long ago it was.
func formatPageTime(now, at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	text := at.UTC().Format("2006-01-02 15:04:05 UTC")
	if ago := now.Sub(at); ago >= time.Second {
		return fmt.Sprintf("%s (%s ago)", text, largest(ago))
	}
	return text
}

// largest writes a duration with its two largest units.
func largest(duration time.Duration) string {
	unit := time.Second
	for _, each := range []time.Duration{time.Minute, time.Hour, 24 * time.Hour} {
		if duration >= 24*each {
			unit = each
		}
	}
	return model.Duration(duration.Truncate(unit)).String()
}

// Problems are what is wrong, in lines.
func (p page) Problems() []string {
	var lines []string
	for _, each := range p.Tiers {
		if each.Error != "" {
			lines = append(lines, fmt.Sprintf("%s: %s", each.Name, each.Error))
		}
		if each.Service != nil && each.Service.Message != "" {
			lines = append(lines, fmt.Sprintf("Service %s: %s", each.Service.Name, each.Service.Message))
		}
	}
	if p.Health.LearningError != "" {
		lines = append(lines, "What the tiers hold could not be learned: "+p.Health.LearningError)
	}
	return slices.Compact(lines)
}
