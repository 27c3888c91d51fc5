package promapi

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAcceptsGzip_FollowsTheQuality(t *testing.T) {
	for header, expected := range map[string]bool{
		"": false, "gzip": true, "GZIP": true, "br, gzip": true, "br,zstd ,gzip ; q=0.5": true, "*": true, "*;q=0.1": true,
		"gzip;q=0": false, "gzip;q=0.0, *": false, "*, gzip;q=0": false, "*;q=0, gzip": true, "br": false, "xgzip": false, "identity": false, "gzip;q=x": false,
	} {
		require.Equal(t, expected, AcceptsGzip(http.Header{"Accept-Encoding": {header}}), header)
	}
	require.True(t, AcceptsGzip(http.Header{"Accept-Encoding": {"br", "gzip"}}))
	require.False(t, AcceptsGzip(nil))
}

func TestBestEncoding_IsTheOneThatTheClientPrefers(t *testing.T) {
	for header, expected := range map[string]string{
		"":                               EncodingPlain,
		"gzip":                           EncodingGzip,
		"zstd":                           EncodingZstd,
		"ZSTD, gzip":                     EncodingZstd,
		"gzip, deflate, br, zstd":        EncodingZstd, // Chromium
		"gzip, deflate, br":              EncodingGzip,
		"gzip;q=1.0, zstd;q=0.5":         EncodingGzip,
		"gzip;q=0.5, zstd;q=0.7":         EncodingZstd,
		"gzip, zstd;q=0":                 EncodingGzip,
		"zstd;q=0, gzip;q=0":             EncodingPlain,
		"*":                              EncodingGzip,
		"*;q=0":                          EncodingPlain, // Nothing is accepted.
		"*, gzip;q=0":                    EncodingPlain,
		"*;q=0.1, zstd;q=0.2":            EncodingZstd,
		"br;q=1, deflate":                EncodingPlain,
		"identity":                       EncodingPlain,
		"identity;q=1, gzip;q=0.5":       EncodingPlain,
		"identity;q=0.5, gzip;q=0.7":     EncodingGzip,
		"gzip, identity":                 EncodingGzip,
		"identity;q=0, gzip;q=0.001":     EncodingGzip,
		"zstd;q=NaN, gzip;q=-1":          EncodingPlain,
		"zstd;q=\"0.4\", gzip;q=\"0.5\"": EncodingGzip,
		",, gzip ,":                      EncodingGzip,
	} {
		require.Equal(t, expected, BestEncoding(http.Header{"Accept-Encoding": {header}}), header)
	}
	require.Equal(t, EncodingZstd, BestEncoding(http.Header{"Accept-Encoding": {"gzip", "zstd"}}))
	require.Equal(t, EncodingPlain, BestEncoding(nil))
}

func TestPrefersNothingToGzip_ComparesTheQualities(t *testing.T) {
	for header, expected := range map[string]bool{
		"": false, "gzip": true, "gzip, deflate, br, zstd": true, "zstd": false, "*": true, "*, gzip;q=0": false, "gzip;q=0.5, zstd": false,
		"gzip;q=0.5, zstd;q=0.5": true, "gzip, identity": true, "identity;q=1, gzip;q=0.5": false, "zstd;q=0.5, *;q=0.4": false, "br": false,
	} {
		require.Equal(t, expected, PrefersNothingToGzip(http.Header{"Accept-Encoding": {header}}), header)
	}
}

func TestRefusesPlain_OnlyIfTheHeaderSaysSo(t *testing.T) {
	for header, expected := range map[string]bool{
		"": false, "gzip": false, "*": false, "identity": false, "identity;q=0": true, "gzip, identity;q=0": true,
		"*;q=0": true, "gzip, *;q=0": true, "identity, *;q=0": false, "identity;q=0.1, *;q=0": false,
	} {
		require.Equal(t, expected, RefusesPlain(http.Header{"Accept-Encoding": {header}}), header)
	}
}
