// Package livestream follows live queries as a browser does, for the tests of several packages. It
// checks the contract of docs/live.md on the way.
package livestream

import (
	"bufio"
	"io"
	"strconv"
	"strings"
	"time"
)

// event is one of a stream of Server-Sent Events.
type event struct {
	name, data string
	// id is the last one that the stream has had so far.
	id string
	// read is when the end of the event was read.
	read time.Time
}

// eventReader reads Server-Sent Events: see the HTML standard.
type eventReader struct {
	lines *bufio.Reader
	id    string
	// retry is what the stream has said last, or zero.
	retry time.Duration
}

func newEventReader(from io.Reader) *eventReader {
	return &eventReader{lines: bufio.NewReader(from)}
}

// next returns the next event that has data. It returns the error of the reader.
func (r *eventReader) next() (event, error) {
	found := event{name: "message"}
	var data []string
	for {
		line, err := r.lines.ReadString('\n')
		if err != nil {
			return event{}, err
		}
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line == "" {
			if data == nil {
				found.name = "message"
				continue
			}
			found.data, found.id, found.read = strings.Join(data, "\n"), r.id, time.Now()
			return found, nil
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			found.name = value
		case "data":
			data = append(data, value)
		case "id":
			r.id = value
		case "retry":
			if number, err := strconv.Atoi(value); err == nil {
				r.retry = time.Duration(number) * time.Millisecond
			}
		}
	}
}
