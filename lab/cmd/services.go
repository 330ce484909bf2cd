package main

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/mozilla-platform-ops/roller/lab"
)

// The clients that the authentication stand-in knows.
const (
	rollerClient  = "project/releng/roller"     // roller's own
	sheriffClient = "mozilla-auth0/sheriff"     // may ask for every task
	pingerClient  = "mozilla-auth0/contributor" // may only ping
	taskScopes    = "project:releng:roller:"    // the default of roller's REQUIRED_TASKCLUSTER_SCOPE_SETS
	askScope      = "auth:authenticate-hawk"    // for asking who a caller is
)

// Services starts what stands in for Bugzilla and for Taskcluster, and returns
// the environment variables that point there.
func Services(ctx context.Context) (env map[string]string, stop func() error, err error) {
	key, token, sheriff, pinger := rand.Text(), rand.Text(), rand.Text(), rand.Text()
	auth := lab.NewAuth(
		lab.Client{ID: rollerClient, AccessToken: token, Scopes: []string{askScope}},
		lab.Client{ID: sheriffClient, AccessToken: sheriff, Scopes: []string{taskScopes + "*"}},
		lab.Client{ID: pingerClient, AccessToken: pinger, Scopes: []string{taskScopes + "ping"}},
	)
	root, err := auth.Start(ctx)
	if err != nil {
		return nil, nil, err
	}
	bugzilla := lab.NewBugzilla(key)
	tracker, err := bugzilla.Start(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, auth.Close())
	}
	stop = func() error { return errors.Join(auth.Close(), bugzilla.Close()) }
	return map[string]string{
		"BUGZILLA_URL": tracker, "BUGZILLA_API_KEY": key,
		"TASKCLUSTER_ROOT_URL": root, "TASKCLUSTER_CLIENT_ID": rollerClient, "TASKCLUSTER_ACCESS_TOKEN": token,
		"LAB_SHERIFF_CLIENT_ID": sheriffClient, "LAB_SHERIFF_ACCESS_TOKEN": sheriff,
		"LAB_PINGER_CLIENT_ID": pingerClient, "LAB_PINGER_ACCESS_TOKEN": pinger,
	}, stop, nil
}
