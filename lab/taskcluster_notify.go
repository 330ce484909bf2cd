package lab

import (
	"fmt"
	"maps"
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
	t.notices = append(t.notices, n)
	return map[string]any{}, nil
}

// Notices returns what the notify service was asked to tell.
func (t *Taskcluster) Notices() []TaskclusterNotice {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.notices)
}
