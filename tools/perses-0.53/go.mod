// A Perses server that the plugin archive is loaded into too.
module github.com/tiered-prometheus/tiered-prometheus/tools/perses-0.53

go 1.26.0

require github.com/perses/perses v0.53.1
