// The custom resource definitions of the Gateway API, by which the tests judge the manifests.
module github.com/tiered-prometheus/tiered-prometheus/tools/gateway-api

go 1.26.7

require sigs.k8s.io/gateway-api v1.3.0
