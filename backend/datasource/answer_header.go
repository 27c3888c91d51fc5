package datasource

import (
	"mime"
	"net/http"
	"strings"
)

// passedHeaders is the allow-list of response headers of a tier. All others end
// here: a tier must not tell a browser what to store, run, delete or open on the
// host of Perses, and must not pass for tierproxy. Content-Type is added below.
var passedHeaders = []string{"Content-Encoding", "Vary", "Retry-After"}

const jsonContentType = "application/json"

// copyAnswerHeader adds those headers of an answer that may go to a client.
func copyAnswerHeader(to, from http.Header) {
	for _, name := range passedHeaders {
		if values := from[name]; len(values) > 0 {
			to[name] = values
		}
	}
	to["Content-Type"] = []string{answerType(from.Get("Content-Type"))}
}

// answerType returns the content type of an answer of a tier. It is JSON, as that
// of all answers of the Prometheus API, whatever the tier says: never what a
// browser draws as a page, and never empty, so that no server guesses it from the
// body.
func answerType(given string) string {
	if given == jsonContentType {
		return jsonContentType
	}
	mediaType, parameters, err := mime.ParseMediaType(given)
	if err == nil && mediaType == jsonContentType && strings.EqualFold(parameters["charset"], "utf-8") {
		return jsonContentType + "; charset=utf-8"
	}
	return jsonContentType
}
