package api

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/mozilla-platform-ops/roller/config"
)

// params takes a request's path and query apart and remembers what is wrong, so
// that one answer names every mistake.
type params struct {
	path   gin.Params
	query  url.Values
	fields map[string][]string
}

func readParams(c *gin.Context) *params {
	p := &params{path: c.Params, fields: map[string][]string{}}
	var err error
	// What of a malformed query can be read is not what its sender meant.
	if p.query, err = url.ParseQuery(c.Request.URL.RawQuery); err != nil {
		p.wrong("query", "is malformed: %% must be followed by two hexadecimal digits, and parameters stand between &")
	}
	return p
}

func (p *params) wrong(field, format string, args ...any) {
	p.fields[field] = append(p.fields[field], fmt.Sprintf(format, args...))
}

// err is a 400 that names all that was wrong, or nil.
func (p *params) err() error {
	if len(p.fields) > 0 {
		return refuseFields(p.fields)
	}
	return nil
}

// text returns a parameter without white space around it; a blank one is an
// absent one. Of two, nobody knows which was meant.
func (p *params) text(name string) string {
	values := p.query[name]
	if len(values) > 1 {
		p.wrong(name, "must stand there once")
	}
	if len(values) == 0 {
		return ""
	}
	return strings.TrimSpace(values[0])
}

// machine returns the worker ID and group that the request names: the path's
// group goes before the query's.
func (p *params) machine() config.Name {
	n := config.Name{WorkerID: strings.ToLower(p.path.ByName("worker_id"))}
	group, inPath := p.path.Get("worker_group")
	if asked := p.text("worker_group"); !inPath {
		if group = asked; group == "" {
			group = config.AnyGroup
		}
	}
	n.WorkerGroup = group
	for field, messages := range config.ValidateName(n.WorkerID, n.WorkerGroup) {
		p.fields[field] = append(p.fields[field], messages...)
	}
	return n
}

// taskID returns the path's task ID in the form in which Temporal has it.
func (p *params) taskID() string {
	id, err := uuid.Parse(p.path.ByName("task_id"))
	if err != nil || len(p.path.ByName("task_id")) != len(id.String()) {
		p.wrong("task_id", "must be a UUID")
	}
	return id.String()
}

// The size of a page.
const (
	defaultLimit = 20
	mostLimit    = 100
)

func (p *params) limit() int {
	text := p.text("limit")
	if text == "" {
		return defaultLimit
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > mostLimit {
		p.wrong("limit", "must be a whole number from 1 to %d", mostLimit)
	}
	return n
}

// mostToken bounds a token, in bytes; Temporal's own have about 150.
const mostToken = 2048

// tokenName is the parameter by which Taskcluster's APIs, too, go on to the next page.
const tokenName = "continuationToken"

// badToken is said of a token that no earlier page gave.
const badToken = "must be that of an earlier page"

func (p *params) token() []byte {
	text := p.text(tokenName)
	token, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(text) > mostToken {
		p.wrong(tokenName, badToken)
	}
	return token
}

func formatToken(token []byte) string { return base64.RawURLEncoding.EncodeToString(token) }

// either returns whether a parameter says true or false; nil for an absent one.
func (p *params) either(name string) *bool {
	text := p.text(name)
	if text == "" {
		return nil
	}
	if text != "true" && text != "false" {
		p.wrong(name, "must be true, false or absent")
	}
	return new(text == "true")
}

// mostWait is short of what proxies let a connection be silent.
const mostWait = 50 * time.Second

func (p *params) wait() time.Duration {
	text := p.text("wait")
	if text == "" {
		return 0
	}
	var d config.Duration
	if err := d.UnmarshalText([]byte(text)); err != nil || d.D() < 0 || d.D() > mostWait {
		p.wrong("wait", "must be a time from 0s to %s, like 30s or a number of seconds", mostWait)
		return 0
	}
	return d.D()
}

// noBody refuses a body: the signature does not cover it.
func (p *params) noBody(h *http.Request) {
	if hasBody(h) {
		p.wrong("body", "must be empty: the signature does not cover it")
	}
}
