package gateway

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/version"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const healthPath = "/api/v1/datasources/health"

// defaultHealth returns the health of the default datasource. Every caller may read it. Only
// callers that may query the datasource see the configuration of its tiers.
func (g *Gateway) defaultHealth(incoming *http.Request) resolve.Health {
	resolved, err := g.core.Resolver.Default()
	if err != nil {
		return resolve.Health{Status: resolve.StatusUnhealthy, Tiers: map[string]resolve.TierHealth{}}
	}
	resolved.Refresh(incoming.Context())
	return resolved.Health(time.Now(), resolved.ShowsConfiguration() && g.checkDefaultCaller(incoming) == nil)
}

// writeHealth responds with the health as JSON, and with status 503 if it is unhealthy.
func writeHealth(w http.ResponseWriter, health resolve.Health) {
	w.Header().Set("Content-Type", "application/json")
	if health.Status == resolve.StatusUnhealthy {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(health) // The client may have disconnected.
}

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"time":   formatPageTime,
	"labels": func(set map[string]string) string { return labels.FromMap(set).String() },
	"milliseconds": func(seconds float64) string {
		return fmt.Sprintf("%.1f ms", seconds*1000)
	},
}).Parse(pageText))

// page is the data of the status page.
type page struct {
	Title   string
	Health  resolve.Health
	Tiers   []pageTier
	Version string
	// HealthPath is the path of the same data as JSON.
	HealthPath string
	Now        time.Time
}

type pageTier struct {
	Name tier.Name
	resolve.TierHealth
	Service *resolve.ServiceHealth
}

// servePage responds with the status page of a datasource. The page loads no other resources.
func (g *Gateway) servePage(w http.ResponseWriter, incoming *http.Request, title string, health resolve.Health) {
	shown := page{
		Title: strings.ToUpper(title[:1]) + title[1:], Health: health, Version: version.Version,
		HealthPath: strings.TrimPrefix(healthPath, "/"), Now: time.Now(),
	}
	for _, name := range tier.Names() {
		row := pageTier{Name: name, TierHealth: health.Tiers[string(name)]}
		if service, found := health.Services[string(name)]; found {
			row.Service = &service
		}
		if row.Endpoint != "" || row.Service != nil {
			shown.Tiers = append(shown.Tiers, row)
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
	_, _ = w.Write(body.Bytes()) // The client may have disconnected.
}

// formatPageTime returns a time and its age.
func formatPageTime(now, at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	text := at.UTC().Format("2006-01-02 15:04:05 UTC")
	if ago := now.Sub(at); ago >= time.Second {
		return fmt.Sprintf("%s (%s ago)", text, roundedAge(ago))
	}
	return text
}

// roundedAge returns a duration rounded down to its two largest units.
func roundedAge(duration time.Duration) string {
	unit := time.Second
	for _, candidate := range []time.Duration{time.Minute, time.Hour, 24 * time.Hour} {
		if duration >= 24*candidate {
			unit = candidate
		}
	}
	return model.Duration(duration.Truncate(unit)).String()
}

// Problems returns the problems of the datasource, one per line.
func (p page) Problems() []string {
	var lines []string
	for _, row := range p.Tiers {
		if row.Error != "" {
			lines = append(lines, fmt.Sprintf("%s: %s", row.Name, row.Error))
		}
		if row.Service != nil && row.Service.Message != "" {
			lines = append(lines, fmt.Sprintf("Service %s: %s", row.Service.Name, row.Service.Message))
		}
	}
	if p.Health.LearningError != "" {
		lines = append(lines, "tierproxy cannot compare the series of the tiers: "+p.Health.LearningError)
	}
	if p.Health.EvidenceMissing != "" {
		lines = append(lines, p.Health.EvidenceMissing)
	}
	return slices.Compact(lines)
}
