package lab

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// TaskclusterNotice is what the notify service was asked to tell.
type TaskclusterNotice struct {
	Kind    string         // "email", "matrix", "slack"
	To      string         // an address, a room, a channel
	Request map[string]any // all of it
}

// notify takes what is to be told. A scope is for one address, room or channel.
func (t *Taskcluster) notify(c call, in *asked) (any, error) {
	n := TaskclusterNotice{Request: maps.Clone(in.body)}
	for kind, field := range map[string]string{"email": "address", "matrix": "roomId", "slack": "channelId"} {
		if c.name == "notify."+kind {
			n.Kind, n.To = kind, fmt.Sprint(in.body[field])
			in.args[field] = n.To
		}
	}
	if err := permit(c, in, nil); err != nil {
		return nil, err
	}
	if status := t.noticeStatus[n.Kind]; status != 0 {
		return nil, refuse(status, noticeCodes[status], "%s cannot be told", n.Kind)
	}
	t.notices = append(t.notices, n)
	return map[string]any{}, nil
}

// noticeCodes are the services' codes of the answers that SetNoticeStatus knows.
var noticeCodes = map[int]string{
	http.StatusForbidden: "InsufficientScopes", http.StatusInternalServerError: "InternalServerError",
}

// SetNoticeStatus has the notify service answer what it is asked to tell by a kind of
// notices ("email", "matrix", "slack") with 403 or 500 in place of telling it; with 0
// it tells again.
func (t *Taskcluster) SetNoticeStatus(kind string, status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.noticeStatus[kind] = status
}

// Notices returns what the notify service was asked to tell.
func (t *Taskcluster) Notices() []TaskclusterNotice {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.notices)
}
