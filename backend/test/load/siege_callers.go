package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// formHeader is that of a POST with parameters.
var formHeader = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}

// formEscaper escapes what has a meaning in a form, and nothing else: an attack
// is as long as it says.
var formEscaper = strings.NewReplacer("%", "%25", "&", "%26", "+", "%2B", ";", "%3B", " ", "+")

// post sends parameters in a body.
func (c *siegeCaller) post(ctx context.Context, path, endpoint string, values url.Values) {
	var body bytes.Buffer
	for name, list := range values {
		for _, value := range list {
			_, _ = fmt.Fprintf(&body, "%s=%s&", name, formEscaper.Replace(value))
		}
	}
	c.ask(ctx, http.MethodPost, path+"/api/v1/"+endpoint, bytes.TrimSuffix(body.Bytes(), []byte("&")), formHeader)
}

// askJSON sends a JSON body.
func (c *siegeCaller) askJSON(ctx context.Context, path, endpoint string, content document) {
	body, err := json.Marshal(content)
	if err != nil {
		c.note("not sent: " + err.Error())
		return
	}
	c.ask(ctx, http.MethodPost, path+"/api/v1/"+endpoint, body, http.Header{"Content-Type": {"application/json"}})
}

func (c *siegeCaller) ask(ctx context.Context, method, path string, body []byte, header http.Header) {
	c.askWith(ctx, method, path, bytes.NewReader(body), int64(len(body)), header)
}

// askWith makes a request, reads at most 32 MiB of the answer, and counts the
// status.
func (c *siegeCaller) askWith(ctx context.Context, method, path string, body io.Reader, length int64, header http.Header) {
	ctx, cancel := context.WithTimeout(ctx, longestAsk)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, c.gateway+path, body)
	if err != nil {
		c.note("not sent: " + err.Error())
		return
	}
	request.ContentLength = length
	for name, values := range header {
		request.Header[name] = values
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	response, err := c.client.Do(request)
	if err != nil {
		c.note(failureOf(ctx, err))
		return
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, 32<<20))
	outcome := fmt.Sprint(response.StatusCode)
	if err != nil {
		outcome += ", cut off"
	}
	c.note(outcome)
}

// failureOf names a request that got no answer.
func failureOf(ctx context.Context, err error) string {
	switch {
	case ctx.Err() != nil:
		return "no answer before the caller left"
	case strings.Contains(err.Error(), "refused"):
		return "connection refused"
	}
	return "connection closed"
}

// heldBody is a body whose last byte is kept back until it is released.
type heldBody struct {
	rest    []byte
	arrived func()
	release <-chan struct{}
	ended   <-chan struct{} // closed when the caller gives up
}

// Read implements io.Reader.
func (b *heldBody) Read(buffer []byte) (int, error) {
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	if len(b.rest) == 1 {
		b.arrived()
		select {
		case <-b.release:
		case <-time.After(3 * time.Second):
		case <-b.ended:
			return 0, errors.New("the caller has given up")
		}
		buffer[0], b.rest = b.rest[0], nil
		return 1, io.EOF
	}
	count := copy(buffer, b.rest[:len(b.rest)-1])
	b.rest = b.rest[count:]
	return count, nil
}

// hold opens connections, sends the beginning of a request over each, and keeps
// them until they are closed or the time is up. A small receive buffer makes the
// gateway wait for the reader, who takes a byte ten times a second.
func (c *siegeCaller) hold(ctx context.Context, connections int, request func(number int) string) {
	base, err := url.Parse(c.gateway)
	if err != nil {
		c.note("not sent: " + err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(ctx, longestHold)
	defer cancel()
	atOnceEach(connections, func(number int) {
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", base.Host)
		if err != nil {
			c.note(failureOf(ctx, err))
			return
		}
		stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
		defer stop()
		defer func() { _ = connection.Close() }()
		if tcp, isTCP := connection.(*net.TCPConn); isTCP {
			_ = tcp.SetReadBuffer(4096) // Without it the kernel reads for us.
		}
		if _, err := io.WriteString(connection, request(number)); err != nil {
			c.note(failureOf(ctx, err))
			return
		}
		reader := bufio.NewReaderSize(connection, 16)
		status := ""
		for count := 0; ; count++ {
			letter, err := reader.ReadByte()
			if err != nil && ctx.Err() != nil {
				c.note(strings.TrimSpace("held until the caller left " + status))
				return
			}
			if err != nil {
				c.note(strings.TrimSpace("closed by the gateway " + status))
				return
			}
			if statusLine := len("HTTP/1.1 200"); count < statusLine {
				if count >= statusLine-3 {
					status += string(letter)
				}
				continue
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
}

// requestHead returns the head of a request with the given further lines.
func (c *siegeCaller) requestHead(method, path string, more ...string) string {
	lines := append([]string{method + " " + path + " HTTP/1.1", "Host: gateway", "Authorization: Bearer " + c.token}, more...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

func slowReaders(ctx context.Context, c *siegeCaller) {
	path, tier := c.either(), oneOf(c.random, "hot", "cold")
	c.hold(ctx, 60, func(number int) string {
		values := url.Values{"query": {fmt.Sprintf("%s{number=\"%d\"}", answerLarge, number)}}
		return c.requestHead(http.MethodGet, path+"/api/v1/query?"+values.Encode(), "X-Tier-Choice: "+tier)
	})
}

func halfSentBodies(ctx context.Context, c *siegeCaller) {
	path := c.either()
	half := "query=" + strings.Repeat("x", 32<<10)
	c.hold(ctx, 100, func(int) string {
		return c.requestHead(http.MethodPost, path+"/api/v1/query", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 65000") + half
	})
}

func idleConnections(ctx context.Context, c *siegeCaller) {
	c.hold(ctx, 200, func(number int) string {
		if number%2 == 0 {
			return ""
		}
		return "GET " + sharedPath + "/api/v1/query?query=up HTTP/1.1\r\nHost: gateway\r\nX-Half: "
	})
}
