package activities

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The headers of a notice that is posted. docs/notices.md says how they are checked.
const (
	timestampHeader = "Roller-Timestamp"
	signatureHeader = "Roller-Signature"
	deliveryHeader  = "Roller-Delivery"
)

// webhookTimeout bounds one post.
const webhookTimeout = 15 * time.Second

// webhookText is what is posted: the notice, less how it travels.
type webhookText struct {
	Notice
	Subject string `json:"subject"`
}

// WebhookNotify posts a notice, signed. One that is tried again has the same
// delivery. Errors: NotSent; Refused where the receiver will refuse the same again.
func (a *Activities) WebhookNotify(ctx context.Context, n Notice) error {
	return fail(endedOr(ctx, a.post(ctx, n)))
}

func (a *Activities) post(ctx context.Context, n Notice) error {
	n.Kind = ""
	body, err := json.Marshal(webhookText{Notice: n, Subject: n.subject()})
	if err != nil {
		return refused("webhook: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.Config.Notices.WebhookURL, bytes.NewReader(body))
	if err != nil {
		return refused("webhook: NOTIFY_WEBHOOK_URL is not a URL")
	}
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(timestampHeader, timestamp)
	request.Header.Set(deliveryHeader, n.TaskID+"/"+n.Event)
	request.Header.Set(signatureHeader, "v1="+signature(a.Config.Notices.WebhookKey.Reveal(), timestamp, body))
	client := &http.Client{
		Timeout:       webhookTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableKeepAlives: true},
	}
	answer, err := client.Do(request)
	if outer, ok := errors.AsType[*url.Error](err); ok {
		return notSent("webhook: %w", outer.Err) // without the URL, which may have a token in it
	}
	if err := answer.Body.Close(); err != nil {
		return notSent("webhook: %w", err)
	}
	switch status := answer.StatusCode; {
	case status >= 200 && status < 300:
		return nil
	case status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout:
		return notSent("webhook: the receiver answered %d", status)
	default:
		return refused("webhook: the receiver answered %d", status)
	}
}

// signature is HMAC-SHA256 over the timestamp, a dot and the body, in hexadecimal.
func signature(key, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}
