package activities

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// bugzillaTimeout is for a configuration that sets none. Requests to a real
// Bugzilla took 0.6 s and more.
const bugzillaTimeout = 30 * time.Second

// maxAnswer bounds what is read of one answer. The longest are a bug's
// comments, some 500 bytes each.
const maxAnswer = 8 << 20

// maxMessage bounds what an error repeats of an answer, in runes.
const maxMessage = 200

// errAnswerLost marks a write that Bugzilla may have carried out.
var errAnswerLost = errors.New("the answer was lost")

// bugzilla is a client of Bugzilla's REST API.
type bugzilla struct {
	base *url.URL // without /rest
	key  config.Secret
	// headerOnly: the server takes the key from the header, so that it is in no
	// URL. bugzilla.mozilla.org does; upstream's Bugzilla (5.2) reads only the
	// query and the JSON body.
	headerOnly bool
	http       *http.Client
}

func newBugzilla(cfg config.Bugzilla) (*bugzilla, error) {
	base, err := url.Parse(strings.TrimSuffix(strings.TrimRight(cfg.URL, "/"), "/rest"))
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") || base.User != nil || base.RawQuery != "" {
		return nil, refused("BUGZILLA_URL is not the http or https address of a Bugzilla") // not shown: it may hold a password
	}
	if cfg.APIKey.IsZero() {
		return nil, refused("BUGZILLA_API_KEY is not set")
	}
	return &bugzilla{base: base, key: cfg.APIKey, http: &http.Client{
		Timeout: cmp.Or(cfg.Timeout.D(), bugzillaTimeout),
		// A redirect would carry the key to another place.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{Proxy: httpsProxy, ForceAttemptHTTP2: true},
	}}, nil
}

// httpsProxy is the environment's proxy for https only: such a proxy sees the
// host, where for http it would see the whole URL, with the key.
func httpsProxy(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme != "https" {
		return nil, nil //nolint:nilnil // http.Transport.Proxy means "none" by it
	}
	return http.ProxyFromEnvironment(r)
}

func (b *bugzilla) close() { b.http.CloseIdleConnections() }

func (b *bugzilla) showURL(id int) string {
	show := b.base.JoinPath("show_bug.cgi")
	show.RawQuery = fmt.Sprintf("id=%d", id)
	return show.String()
}

// call sends one request and decodes the answer. Its errors hold neither the
// query nor the key. A request without an answer is NotSent even where it may
// have arrived, since whoever tries again looks first.
func (b *bugzilla) call(ctx context.Context, method, path string, query url.Values, body map[string]any, answer any) error {
	doing := fmt.Sprintf("bugzilla: %s /rest/%s", method, path)
	req, err := b.request(ctx, method, path, query, body)
	if err != nil {
		return refused("%s: %s", doing, b.scrub(err))
	}
	resp, err := b.http.Do(req)
	if err != nil {
		return b.lost(doing, method, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return b.lost(doing, method, err)
	}
	if len(text) > maxAnswer {
		return notSent("%s: the answer is longer than %d bytes", doing, maxAnswer)
	}
	return b.read(doing, method, resp, text, answer)
}

func (b *bugzilla) request(ctx context.Context, method, path string, query url.Values, body map[string]any) (*http.Request, error) {
	target := b.base.JoinPath("rest", path)
	if query == nil {
		query = url.Values{}
	}
	var content io.Reader
	if method != http.MethodGet {
		text, err := json.Marshal(b.withKey(body))
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	} else if !b.headerOnly && path != whoami {
		query.Set("api_key", b.key.Reveal())
	}
	target.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, target.String(), content)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Bugzilla-Api-Key", b.key.Reveal())
	return req, nil
}

func (b *bugzilla) withKey(body map[string]any) map[string]any {
	if b.headerOnly {
		return body
	}
	out := map[string]any{"api_key": b.key.Reveal()}
	maps.Copy(out, body)
	return out
}

// lost is for a request that got no whole answer.
func (b *bugzilla) lost(doing, method string, err error) error {
	reason := b.scrub(err)
	if dial, ok := errors.AsType[*net.OpError](err); method == http.MethodGet || ok && dial.Op == "dial" {
		return notSent("%s: %s", doing, reason)
	}
	return notSent("%s: %s (%w)", doing, reason, errAnswerLost)
}

// read makes an error of every answer but JSON that reports success.
func (b *bugzilla) read(doing, method string, resp *http.Response, text []byte, answer any) error {
	var problem struct {
		Error   bool        `json:"error"`
		Code    json.Number `json:"code"`
		Message string      `json:"message"`
	}
	isJSON := json.Unmarshal(text, &problem) == nil
	code, _ := problem.Code.Int64()
	switch status := resp.StatusCode; {
	case status >= 500 && method != http.MethodGet:
		return notSent("%s: status %d (%w)", doing, status, errAnswerLost)
	case status >= 500 || status == http.StatusTooManyRequests:
		return notSent("%s: status %d", doing, status)
	case status == http.StatusMovedPermanently || status == http.StatusPermanentRedirect:
		return refused("%s: status %d: BUGZILLA_URL has moved", doing, status)
	case !isJSON || status >= 300 && status < 400:
		return notSent("%s: status %d with %q in the place of JSON", doing, status, b.clip(resp.Header.Get("Content-Type")))
	case code == codeUnknown || code == -codeUnknown:
		return notSent("%s: %s (code %d)", doing, b.clip(problem.Message), code)
	case status >= 400 && code == 0:
		return refused("%s: status %d", doing, status)
	case problem.Error || status >= 400:
		return refused("%s: %w", doing, &bugzillaError{code: int(code), message: b.clip(problem.Message)})
	}
	if answer != nil && json.Unmarshal(text, answer) != nil {
		return notSent("%s: JSON of another shape", doing)
	}
	return nil
}

// scrub returns an error's text without the URL, which net/http puts first, and
// without the key, wherever else it may have got into it.
func (b *bugzilla) scrub(err error) string {
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	return b.clip(err.Error())
}

// clip hides the key before it shortens, so that no part of it can stay.
func (b *bugzilla) clip(text string) string {
	key := b.key.Reveal()
	for _, spelling := range []string{key, url.QueryEscape(key), url.PathEscape(key)} {
		text = strings.ReplaceAll(text, spelling, b.key.String())
	}
	if runes := []rune(text); len(runes) > maxMessage {
		text = string(runes[:maxMessage]) + "..."
	}
	return text
}
