//go:build e2e

package cluster

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// discoveryCost is what finding the tiers costs.
type discoveryCost struct {
	found    time.Duration // until the tiers were found
	requests int           // to the API server until then
	idle     int           // requests afterwards
	cpu      time.Duration // afterwards, of this process
	heap     int64         // of this process, in bytes
	routines int
	message  int // the length of what health says
}

// TestDiscovery_CostsNoMoreAmongManyServices compares a namespace that holds the tiers alone
// with one that holds E2E_SERVICES other Services with EndpointSlices, which change.
func TestDiscovery_CostsNoMoreAmongManyServices(t *testing.T) {
	count, idle := 300, time.Second
	if text := os.Getenv("E2E_SERVICES"); text != "" {
		var err error
		count, err = strconv.Atoi(text)
		require.NoError(t, err)
		idle = 30 * time.Second
	}
	apply(t, openshift("prometheus-k8s", 9091)+"---\n"+slice("prometheus-k8s", 9091, "prometheus-k8s-0=10.0.0.1", "prometheus-k8s-1=10.0.0.2"))
	maySeeServices(t, monitoring)
	alone := measureDiscovery(t, idle, "", nil)
	manifests := func(network int) func(n int) string {
		return func(n int) string {
			name := fmt.Sprintf("team-%05d", n)
			return openshift(name, 9091) + "---\n" + slice(name, 9091, fmt.Sprintf("%s-0=10.%d.%d.%d", name, network, n/250, n%250+1))
		}
	}
	change := func(network int) {
		forEach(t, count, manifests(network), func(object *unstructured.Unstructured) error {
			if network > 1 && object.GetKind() == "Service" {
				return nil // It is the same.
			}
			return shared.apply(t.Context(), object)
		})
	}
	change(1)
	t.Cleanup(func() {
		forEach(t, count, manifests(1), func(object *unstructured.Unstructured) error {
			return shared.resource(object).Delete(context.WithoutCancel(t.Context()), object.GetName(), metav1.DeleteOptions{})
		})
	})
	among := measureDiscovery(t, idle, "", nil)
	changing := measureDiscovery(t, idle, "", func() { change(2) })
	// A selector of cold that matches all is a mistake.
	mistaken := measureDiscovery(t, idle, "app", nil)
	t.Logf("alone                     %+v", alone)
	t.Logf("among %5d Services      %+v", count, among)
	t.Logf("while all of them change  %+v", changing)
	t.Logf("with a selector for all   %+v", mistaken)
	require.Less(t, mistaken.message, 500)
	require.Less(t, mistaken.heap, alone.heap+(2<<20)+int64(count)*3000)
	for _, each := range []discoveryCost{among, changing} {
		require.Equal(t, alone.requests, each.requests)
		require.LessOrEqual(t, each.idle, 1, "the API server ends a watch after five to ten minutes")
		require.Less(t, each.heap, alone.heap+(4<<20))
		require.LessOrEqual(t, each.routines, alone.routines+10)
	}
}

// TestDiscovery_MaxFoundServices finds as many Services as one selector may find. Each takes a list
// and a watch of itself and of its EndpointSlices.
func TestDiscovery_MaxFoundServices(t *testing.T) {
	const count = discovery.MaxFound
	f := newFound(t, "finds-many")
	maySeeAllServices(t, "finds-many")
	f.waitFor(t, selecting, discovery.StateAbsent, "no Service in any namespace matches tiered=hot")
	requests, heap, routines, began := requestsOfDiscovery(t), heapOf(), runtime.NumGoroutine(), time.Now()
	applyClusters(t, count)
	require.Eventually(t, func() bool {
		services := f.ResolveAll(selecting).Services
		return len(services) == count && !slices.ContainsFunc(services, func(service discovery.Reference) bool { return len(f.Resolve(service).Endpoints) != 2 })
	}, eventually, 10*time.Millisecond)
	t.Logf("found within %s of the first manifest", time.Since(began))
	// The watches begin after the lists.
	require.Eventually(t, func() bool { return requestsOfDiscovery(t)-requests >= 4*count }, eventually, 10*time.Millisecond)
	requests, heap, routines = requestsOfDiscovery(t)-requests, heapOf()-heap, runtime.NumGoroutine()-routines
	t.Logf("%d requests, %d KB of heap, %d goroutines", requests, heap>>10, routines)
	require.Equal(t, 4*count, requests)
	require.Less(t, heap, int64(count)*200<<10)
	require.Less(t, routines, count*25)
}

// applyClusters makes Services that selecting finds, each with the addresses of two pods. Nothing is
// there.
func applyClusters(t *testing.T, count int) {
	t.Helper()
	manifests := func(n int) string {
		name := fmt.Sprintf("cluster-%03d", n)
		return hotService(monitoring, name, "") + "---\n" + slice(name, 9090, fmt.Sprintf("%s-0=10.9.0.%d", name, n), fmt.Sprintf("%s-1=10.9.1.%d", name, n))
	}
	forEach(t, count, manifests, func(object *unstructured.Unstructured) error { return shared.apply(t.Context(), object) })
	t.Cleanup(func() {
		forEach(t, count, manifests, func(object *unstructured.Unstructured) error {
			return shared.resource(object).Delete(context.WithoutCancel(t.Context()), object.GetName(), metav1.DeleteOptions{})
		})
	})
}

// heapOf returns the size of the heap of this process in bytes.
func heapOf() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// measureDiscovery starts a gateway with the rights of deploy/.
func measureDiscovery(t *testing.T, idle time.Duration, selector string, meanwhile func()) (cost discoveryCost) {
	t.Helper()
	t.Run("measured", func(t *testing.T) { // It ends the gateway.
		cpu := func() time.Duration {
			now, err := stack.CPU(os.Getpid())
			require.NoError(t, err)
			return now
		}
		requests, heapBefore, routines := requestsOfDiscovery(t), heapOf(), runtime.NumGoroutine()
		g := newGateway(t, &network{}, func(settings *config.Config) {
			settings.Probe.Interval = config.Duration(time.Hour)
			if selector != "" {
				settings.Discovery.Cold.Selector = selector
			}
		})
		cost.found = g.waitFor(t, eventually, "hot is found", func(health resolve.Health) bool {
			cost.message = len(health.Services["cold"].Message)
			wanted := "absent"
			if selector != "" {
				wanted = "unusable"
			}
			return len(health.Tiers["hot"].Replicas) == 2 && health.Services["cold"].State == wanted
		}).Round(time.Millisecond)
		cost.requests = requestsOfDiscovery(t) - requests
		if meanwhile != nil {
			meanwhile()
		}
		began := cpu()
		time.Sleep(idle) // Nothing happens: that is what is measured.
		cost.cpu = (cpu() - began).Round(time.Millisecond)
		cost.idle = requestsOfDiscovery(t) - requests - cost.requests
		cost.heap, cost.routines = heapOf()-heapBefore, runtime.NumGoroutine()-routines
	})
	return cost
}

// ofDiscovery are the metrics of lists and watches of Services and EndpointSlices in a
// namespace: those that have ended, and watches that go on.
var ofDiscovery = regexp.MustCompile(`^apiserver_(request_total|longrunning_requests)\{.*resource="(services|endpointslices)",scope="(namespace|resource)",.*verb="(LIST|WATCH)".*\} (\d+)$`)

// requestsOfDiscovery returns how many there were so far.
func requestsOfDiscovery(t *testing.T) (sum int) {
	t.Helper()
	file, err := shared.kubernetes.Kubeconfig("admin", shared.kubernetes.AdminToken())
	require.NoError(t, err)
	settings, err := clientcmd.BuildConfigFromFlags("", file)
	require.NoError(t, err)
	client, err := rest.HTTPClientFor(settings)
	require.NoError(t, err)
	response, err := client.Get(settings.Host + "/metrics")
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if found := ofDiscovery.FindStringSubmatch(lines.Text()); found != nil {
			number, err := strconv.Atoi(found[5])
			require.NoError(t, err)
			sum += number
		}
	}
	require.NoError(t, lines.Err())
	return sum
}

// forEach calls a function for many manifests, some at a time.
func forEach(t *testing.T, count int, manifests func(n int) string, call func(object *unstructured.Unstructured) error) {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(32)
	for n := range count {
		for _, object := range parse(manifests(n)) {
			group.Go(func() error { return call(object) })
		}
	}
	require.NoError(t, group.Wait())
}
