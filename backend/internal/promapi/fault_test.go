package promapi

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIsFault_ByStatus(t *testing.T) {
	for status, expected := range map[int]bool{
		200: false, 302: false, 400: false, 401: false, 403: false, 404: false, 405: false, 413: false, 422: false, 501: false,
		429: true, 500: true, 502: true, 503: true, 504: true, 520: true, 599: true,
	} {
		require.Equal(t, expected, IsFault(status, ""), "%d", status)
	}
	require.False(t, IsFault(400, "rpc error: code = Unavailable"), "a query that does not parse")
}

// The messages are those of Thanos 0.42 and of older versions.
func TestIsFault_ByTheMessageOfAThanos(t *testing.T) {
	const proxy = "expanding series: proxy Series(): rpc error: code = Aborted desc = "
	for message, expected := range map[string]bool{
		proxy + `fetch series for {cluster="lab"} Addr: a:1: rpc error: code = Unavailable desc = connection error`:                 true,
		proxy + `receive series from Addr: a:1 LabelSets: {}: rpc error: code = Unavailable desc = error reading from server: EOF`:  true,
		proxy + `receive series from Addr: a:1 LabelSets: {}: rpc error: code = DeadlineExceeded desc = context deadline exceeded`:  true,
		proxy + `failed to receive any data in 5s from Addr: a:1 LabelSets: {}: rpc error: code = Canceled desc = context canceled`: true,
		proxy + `failed to receive any data in 5s from Addr: a:1 LabelSets: {}: context canceled`:                                   true,
		proxy + `receive series from Addr: a:1: rpc error: code = Aborted desc = fetch series for block 01: load chunks: EOF`:       true,
		proxy + `receive series from Addr: a:1: rpc error: code = Internal desc = request failed with code 503 Service Unavailable`: true,
		proxy + `No StoreAPIs matched for this query`:                                                                               true,
		`expanding series: proxy Series(): No StoreAPIs available`:                                                                  true,
		`fetching label values: rpc error: code = Unavailable desc = upstream connect error`:                                        true,
		proxy + `receive series from Addr: a:1: rpc error: code = ResourceExhausted desc = exceeded series limit: limit 1 violated`: false,
		proxy + `fetch series for block 01: exceeded chunks limit: limit 1 violated (got 2)`:                                        false,
		proxy + `receive series from Addr: a:1: rpc error: code = Code(422) desc = bytes limit exceeded while fetching postings`:    false,
		`proxy Series(): rpc error: code = InvalidArgument desc = no matchers specified (excluding selector labels)`:                false,
		`expanding series: context deadline exceeded`:                                                                               false,
		`query timed out in query execution`:                                                                                        false,
		`query processing would load too many samples into memory in query execution`:                                               false,
		`found duplicate series for the match group {} on the right hand-side of the operation`:                                     false,
		`vector cannot contain metrics with the same labelset`:                                                                      false,
		``: false,
	} {
		require.Equal(t, expected, IsFault(422, message), message)
	}
}
