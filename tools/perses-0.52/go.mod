// A Perses server that the plugin archive is loaded into too.
module github.com/tiered-prometheus/tiered-prometheus/tools/perses-0.52

go 1.26.0

require github.com/perses/perses v0.52.0
