// The Perses server and percli that tests and the demo run.
module github.com/tiered-prometheus/tiered-prometheus/tools/perses

go 1.26.0

require github.com/perses/perses v0.54.0
