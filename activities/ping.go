package activities

import (
	"context"
	"fmt"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// The old service's `ping -c 4 -w 5`.
const (
	pingCount    = 4
	pingDeadline = 5 * time.Second
	pingInterval = time.Second
	pingLeast    = 10 * time.Millisecond // what a reply needs: nothing is sent so shortly before the deadline
)

// PingInput asks whether a machine answers.
type PingInput struct {
	Machine  config.Name     `json:"machine"`
	Count    int             `json:"count,omitempty"`   // replies wanted; 0 is 4
	Deadline config.Duration `json:"deadline,omitzero"` // for all of them together; 0 is 5s
}

// PingResult is what answered, and how fast.
type PingResult struct {
	Sent     int             `json:"sent"`
	Received int             `json:"received"`
	Probe    string          `json:"probe"`        // "icmp" or "tcp:22"
	RTT      config.Duration `json:"rtt,omitzero"` // mean round trip
	Text     string          `json:"text"`         // all of this as one line for people
}

// Ping succeeds when all of Count probes are answered within the deadline.
func (a *Activities) Ping(ctx context.Context, in PingInput) (PingResult, error) {
	m, err := a.lookup(in.Machine)
	if err != nil {
		return PingResult{}, fail(err)
	}
	if in.Count <= 0 {
		in.Count = pingCount
	}
	if in.Deadline <= 0 {
		in.Deadline = config.Duration(pingDeadline)
	}
	res, err := a.PingEach(ctx, m, in.Count, in.Deadline.D(), func(Echo) {})
	if err != nil && ctx.Err() != nil {
		err = ended(ctx)
	}
	return res, fail(err)
}

// Echo is one probe and what became of it.
type Echo struct {
	Seq      int           // from 1
	Answered bool          // in time
	From     string        // the address that was asked; "" where it is not known
	Bytes    int           // of the ICMP message that came back; 0 for a TCP probe
	TTL      int           // of the packet that came back; 0 for a TCP probe
	RTT      time.Duration // round trip
}

// Echoer is a Prober that also tells what came back.
type Echoer interface {
	Echo(ctx context.Context, m config.Machine) (Echo, error)
}

// Unanswered is the error of a ping that was sent and not answered as asked.
type Unanswered struct{ text string }

// Error implements error.
func (u *Unanswered) Error() string { return u.text }

// PingEach sends one probe a second until count are sent or the deadline is
// over, and tells each as it ends. It is the Ping activity's code, and the
// command line's. Errors: *Unanswered with meaning NoAnswer when fewer than
// count were answered, and whatever kept a probe from being made.
func (a *Activities) PingEach(ctx context.Context, m config.Machine, count int, deadline time.Duration, each func(Echo)) (PingResult, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	res := PingResult{Probe: m.Probe.String()}
	var total time.Duration
	end := start.Add(deadline)
	for res.Sent < count && ctx.Err() == nil && time.Until(end) > pingLeast {
		sent := time.Now()
		e, err := a.echo(ctx, m)
		if err != nil {
			return res, meaning(NoAnswer, "ping %s: %w", m.FQDN, err)
		}
		res.Sent++
		if e.Seq = res.Sent; e.Answered {
			res.Received++
			total += e.RTT
		}
		each(e)
		if res.Sent < count {
			pause(ctx, pingInterval-time.Since(sent))
		}
	}
	if res.Received > 0 {
		res.RTT = roundTrip(total / time.Duration(res.Received))
	}
	res.Text = fmt.Sprintf("%d of %d probes answered (%s), mean round trip %s", res.Received, res.Sent, res.Probe, res.RTT)
	if res.Received < count {
		return res, &Error{NoAnswer, &Unanswered{fmt.Sprintf("ping %s (%s): %d of %d probes answered within %s",
			m.FQDN, res.Probe, res.Received, count, time.Since(start).Round(100*time.Millisecond))}}
	}
	return res, nil
}

// roundTrip is a time as it is shown, in microseconds. An answer that took less
// than the clock tells apart took some time all the same.
func roundTrip(took time.Duration) config.Duration {
	return config.Duration(max(took.Round(time.Microsecond), time.Microsecond))
}

// echo sends one probe, and takes the time itself where the prober does not.
func (a *Activities) echo(ctx context.Context, m config.Machine) (Echo, error) {
	if e, ok := a.Prober.(Echoer); ok {
		return e.Echo(ctx, m)
	}
	sent := time.Now()
	answered, err := a.Prober.Probe(ctx, m)
	return Echo{Answered: answered, RTT: time.Since(sent)}, err
}
