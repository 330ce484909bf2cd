package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"

	"github.com/mozilla-platform-ops/roller/bench/bare"
)

// accept posts reboots of machines that have no job, as the dashboard does, to
// `roller api`, and starts bare workflows by Temporal's client at the same
// concurrency. There is no worker: a start is all that is measured.
func accept(ctx context.Context, b *bench) (row Row, err error) {
	posts, atOnce := pick(b, 50, 1000), 32
	row.Setup = fmt.Sprintf("%d POSTs of `reboot` a round, %d at once, each signed anew and for another machine of the inventory", posts, atOnce)
	list, prefix, err := b.inventory((b.rounds + 1) * posts)
	if err != nil {
		return row, err
	}
	s, err := b.site(ctx, "accept", fleet{env: map[string]string{"FQDN_TO_SSH_FILE": list}})
	defer func() { err = closed(ctx, s, err) }()
	if err != nil {
		return row, err
	}
	if err := s.StartAPI(ctx); err != nil {
		return row, err
	}
	p := newPoster(s, prefix, atOnce)
	if _, err := p.load(ctx, pick(b, 1, posts/4), atOnce); err != nil { // the first ones find nothing warm
		return row, err
	}
	rounds, err := b.alternate(ctx, b.rounds,
		func(ctx context.Context) (Sample, error) { return starts(bare.Starts(ctx, s.client, posts, atOnce)) },
		func(ctx context.Context) (Sample, error) { return starts(p.load(ctx, posts, atOnce)) })
	if err != nil {
		return row, err
	}
	row.Measures = []Measure{
		compare(rounds, "starts", "1/s", atLeast(0.8)),
		compare(rounds, "p50", "ms", nil), compare(rounds, "p99", "ms", atMost(1.5)),
	}
	return row, nil
}

func starts(l bare.Load, err error) (Sample, error) {
	if err != nil {
		return nil, err
	}
	return Sample{
		"starts": l.PerSecond(), "p50": milliseconds(quantile(l.Each, 0.5)), "p99": milliseconds(quantile(l.Each, 0.99)),
	}, nil
}

// inventory writes one with so many machines, none of which is ever touched, and
// returns what their names begin with: no other run has it.
func (b *bench) inventory(machines int) (path, prefix string, err error) {
	prefix = strings.ToLower(rand.Text()[:8])
	entries := map[string]map[string]string{}
	for i := range machines {
		entries[machineID(prefix, i)+".test.releng.mdc1.mozilla.com"] = map[string]string{"probe": "tcp:22"}
	}
	text, err := json.Marshal(entries)
	if err != nil {
		return "", "", err
	}
	if path, err = filepath.Abs(filepath.Join(b.dir, "accept.json")); err != nil {
		return "", "", err
	}
	return path, prefix, os.WriteFile(path, text, 0o600)
}

func machineID(prefix string, i int) string { return fmt.Sprintf("%s-%05d", prefix, i) }

// poster sends signed requests, each for a machine that none before it was for.
type poster struct {
	*site
	client http.Client
	who    tcclient.Credentials
	prefix string
	posted int
}

func newPoster(s *site, prefix string, atOnce int) *poster {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = atOnce
	return &poster{
		site: s, prefix: prefix, client: http.Client{Transport: transport, Timeout: 30 * time.Second},
		who: tcclient.Credentials{ClientID: sheriff, AccessToken: s.token},
	}
}

func (p *poster) load(ctx context.Context, n, atOnce int) (bare.Load, error) {
	first := p.posted
	p.posted += n
	return bare.Run(ctx, n, atOnce, func(ctx context.Context, i int) error { return p.post(ctx, first+i) })
}

func (p *poster) post(ctx context.Context, machine int) error {
	url := fmt.Sprintf("%s/api/v1/workers/%s/group/mdc1/jobs?task_name=reboot", p.APIURL, machineID(p.prefix, machine))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, http.NoBody)
	if err != nil {
		return err
	}
	if err := p.who.SignRequest(request); err != nil {
		return err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusCreated {
		err = fmt.Errorf("POST %s: %s: %s", url, response.Status, body)
	}
	return err
}
