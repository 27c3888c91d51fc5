package main

import (
	"fmt"
	"math"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
)

const (
	clusterNodes    = 20
	clusterServices = 20
)

// clusterSeries returns the series of a cluster by its number. All clusters have the same labels, and
// each its own values.
func clusterSeries(pods, cluster int) (all []history.Series) {
	of := func(instance int, value func(int64) float64, pairs ...string) {
		all = append(all, history.Series{
			Labels: labels.FromStrings(append(pairs, "instance", fmt.Sprintf("10.0.%d.%d:8080", instance/200, instance%200))...), Value: value,
		})
	}
	one := func(int64) float64 { return 1 }
	for pod := range pods {
		busy := 1 + float64((pod*7+cluster*3)%20)/5 + float64(pod)/100 // No two are the same.
		place := []string{"namespace", fmt.Sprintf("team-%d", pod%10), "service", fmt.Sprintf("service-%02d", pod%clusterServices), "pod", fmt.Sprintf("app-%04d", pod)}
		with := func(name string, more ...string) []string {
			return append(append([]string{"__name__", name}, place...), more...)
		}
		of(pod, one, with("up", "job", "app")...)
		for handler, method := range []string{"GET", "GET", "POST", "POST"} {
			request := []string{"job", "app", "method", method, "handler", fmt.Sprintf("/api/%d", handler)}
			for code, share := range map[string]float64{"200": 0.95, "404": 0.03, "500": 0.015, "503": 0.005} {
				of(pod, grown(20*busy*share), with("http_requests_total", append(request, "code", code)...)...)
			}
			for i, le := range []string{"0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "+Inf"} {
				of(pod, grown(20*busy*float64(i+1)/11), with("http_request_duration_seconds_bucket", append(request, "le", le)...)...)
			}
			of(pod, grown(20*busy), with("http_request_duration_seconds_count", request...)...)
			of(pod, hundredths(grown(300*busy)), with("http_request_duration_seconds_sum", request...)...)
		}
		for container := range 3 {
			named := []string{"job", "kubelet", "container", fmt.Sprintf("container-%d", container)}
			of(pod, hundredths(grown(100*busy/float64(4+container))), with("container_cpu_usage_seconds_total", named...)...)
			of(pod, varying(1e8*busy, float64(pod)), with("container_memory_working_set_bytes", named...)...)
			of(pod, func(int64) float64 { return 2 }, with("kube_pod_container_resource_limits", append(named, "resource", "cpu")...)...)
		}
		of(pod, grown(1e5*busy), with("container_network_receive_bytes_total", "job", "kubelet")...)
		of(pod, grown(2e4*busy), with("container_network_transmit_bytes_total", "job", "kubelet")...)
	}
	for node := range clusterNodes {
		of(node, one, "__name__", "up", "job", "node")
		of(node, varying(8e9, float64(node+cluster)), "__name__", "node_memory_MemAvailable_bytes", "job", "node")
		of(node, func(int64) float64 { return 3.2e10 }, "__name__", "node_memory_MemTotal_bytes", "job", "node")
		for cpu := range 8 {
			for i, mode := range []string{"idle", "user", "system", "iowait", "irq", "nice", "softirq", "steal"} {
				of(node, hundredths(grown(50/float64(i+1))), "__name__", "node_cpu_seconds_total", "job", "node", "cpu", fmt.Sprint(cpu), "mode", mode)
			}
		}
	}
	return all
}

// grown returns a counter that grows by so much per second on average, and more and less within minutes.
func grown(perSecond float64) func(int64) float64 {
	return func(at int64) float64 {
		elapsed := float64(at%(1<<32)) / 1000
		return math.Round(perSecond * (elapsed + 20*math.Sin(elapsed/60)))
	}
}

func hundredths(of func(int64) float64) func(int64) float64 {
	return func(at int64) float64 { return of(at) / 100 }
}

// varying returns a gauge around a value.
func varying(around, seed float64) func(int64) float64 {
	return func(at int64) float64 { return math.Round(around * (1 + 0.2*math.Sin(float64(at)/600_000+seed))) }
}
