package promapi

import (
	"net/http"
	"regexp"
	"strings"
)

// IsFault reports whether an error is about the server that answered it, not about the
// query: the status says so, or that of a Thanos which cannot read from a store. message is
// that of the error, or empty if there is none.
func IsFault(status int, message string) bool {
	switch status {
	case http.StatusUnprocessableEntity:
		return isStoreFault(message)
	case http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented:
		return false // The server does not have the endpoint.
	}
	return status >= http.StatusInternalServerError
}

// grpcCode matches the code of a gRPC error in the message of a Thanos, which repeats
// the errors of its stores. The outer ones only say that a store failed.
var grpcCode = regexp.MustCompile(`rpc error: code = (\w+)`)

// limitExceeded matches the limits of a store. Older versions of Thanos give them no code
// of their own.
var limitExceeded = regexp.MustCompile(`exceeded \w+ limit|limit exceeded|limit \d+ violated`)

// isStoreFault reports whether a Thanos says that it cannot read from a store. The texts
// are those of its store proxy and of gRPC.
func isStoreFault(message string) bool {
	for _, text := range []string{"No StoreAPIs available", "No StoreAPIs matched", "no store matched", "failed to receive any data in "} {
		if strings.Contains(message, text) {
			return true
		}
	}
	if limitExceeded.MatchString(message) {
		return false
	}
	isFault := false
	for _, found := range grpcCode.FindAllStringSubmatch(message, -1) {
		switch found[1] {
		case "Unavailable", "DeadlineExceeded", "Canceled", "Aborted", "Internal", "Unknown", "DataLoss":
			isFault = true
		default:
			return false // Such as ResourceExhausted and InvalidArgument: it is the query.
		}
	}
	return isFault
}
