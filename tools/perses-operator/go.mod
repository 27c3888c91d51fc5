// The custom resource definitions of the Perses operator, by which the tests judge the manifests.
module github.com/tiered-prometheus/tiered-prometheus/tools/perses-operator

go 1.26.0

require github.com/perses/perses-operator v0.4.0
