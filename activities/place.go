package activities

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/mozilla-platform-ops/roller/config"
)

// place is one attempt's place in the line at its devices, and their turns while
// it has them. Without devices, or outside Temporal, it waits for nobody.
type place struct {
	turns   Turns
	devices []config.Device
	wait    time.Duration // for all devices together, each time
	hold    time.Duration // how long commands may be sent in a turn; its lease is longer by one command
	ask     TurnAsk
	every   func(config.DeviceKind) config.Duration
	// progress is the attempt's, which keeps the time of all waits; tell lets the
	// server know of it.
	progress *Progress
	tell     func()

	mu    sync.Mutex
	held  []Turn
	fence fence
}

// beforeSend is how many times as long as one command all that comes before it
// may take in a turn: setting up, looking at the state. It decides how long a
// device waits for a worker that was killed, and a dark machine with it.
const beforeSend = 3

// newPlace is the place of an activity that speaks to a machine by a protocol
// ("ipmi", "snmp"), or by a task's name.
func (a *Activities) newPlace(ctx context.Context, m config.Machine, protocol string, action Action, progress *Progress) *place {
	p := &place{turns: a.Turns, every: a.Config.Devices.Interval, progress: progress, tell: func() {}}
	if a.Turns == nil || !activity.IsActivity(ctx) {
		return p
	}
	info := activity.GetInfo(ctx)
	p.ask = TurnAsk{Rank: rankOf(ctx, action), Since: info.ScheduledTime, Holder: holderOf(info)}
	p.wait = a.Config.Ladder.TurnWait.D()
	if p.devices = a.Config.Devices.Of(m, protocol); len(p.devices) > 0 { // several are of one kind
		send := a.Config.Devices.LongestSend(p.devices[0].Kind).D()
		p.hold = beforeSend * send
		p.ask.Lease = p.hold + send
	}
	return p
}

// tellAfter keeps what is short from costing a heartbeat.
const tellAfter = time.Second

// take waits for the turn at each device, unless they are held already. Its
// error says that nothing was sent. The time of the wait counts for no retry.
func (p *place) take(ctx context.Context) error {
	if len(p.devices) == 0 || p.has() {
		return nil
	}
	if p.progress.Asked.IsZero() {
		p.progress.Asked = time.Now()
	}
	if err := p.takeAll(ctx); err != nil {
		return err
	}
	p.progress.served()
	return nil
}

func (p *place) takeAll(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, p.wait)
	defer cancel()
	stop := stopping(ctx)
	defer p.telling(waiting)()
	go func() { // a stopping worker takes no turn that it would not use
		select {
		case <-stop:
			cancel()
		case <-waiting.Done():
		}
	}()
	var held []Turn
	for _, d := range p.devices {
		ask := p.ask
		ask.Device, ask.Interval = d, p.every(d.Kind).D()
		turn, err := p.turns.Take(waiting, ask)
		if err != nil {
			releaseAll(held)
			return p.without(ctx, d, err)
		}
		held = append(held, turn)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = held
	// The first turn's lease ends first.
	p.fence = fence{start: held[0].Began, wall: held[0].Began.Round(0), limit: p.hold}
	return nil
}

// telling says what is waited for once that has lasted, until the returned
// function is called. That it is over the next heartbeat says, which is due: one
// more would delay it.
func (p *place) telling(waiting context.Context) (over func()) {
	done := make(chan struct{})
	var saying sync.WaitGroup
	saying.Go(func() {
		timer := time.NewTimer(tellAfter)
		defer timer.Stop()
		select {
		case <-timer.C:
			p.progress.Waiting = p.names()
			p.tell()
		case <-waiting.Done():
		case <-done:
		}
	})
	return func() {
		close(done)
		saying.Wait()
		p.progress.Waiting = ""
	}
}

// without says why there is no turn.
func (p *place) without(ctx context.Context, d config.Device, err error) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	select {
	case <-stopping(ctx):
		return meaning(Handover, "this worker stops before its turn at %s", d)
	default:
		return &noTurn{notSent("no turn at %s within %s: %w", d, p.wait, err)}
	}
}

// names are the devices as people know them.
func (p *place) names() string {
	var all []string
	for _, d := range p.devices {
		all = append(all, d.String())
	}
	return strings.Join(all, " and ")
}

func (p *place) has() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.held) > 0
}

// release gives the devices back; the command that was sent last has ended.
func (p *place) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	releaseAll(p.held)
	p.held = nil
}

func releaseAll(turns []Turn) {
	for _, t := range turns {
		t.Release()
	}
}

// ready is asked at the last moment before a command goes out: a turn that is
// over, or will be before the command is, is another's.
func (p *place) ready() error {
	if len(p.devices) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.held) == 0 {
		return notSent("the turn at %s was given back before the command could be sent", p.names())
	}
	if elapsed := p.fence.elapsed(); elapsed > p.hold {
		return notSent("the turn at %s was over after %s, before the command could be sent", p.names(), elapsed.Round(time.Second))
	}
	return nil
}

// placeKey is where a context holds the attempt's place.
type placeKey struct{}

func withPlace(ctx context.Context, p *place) context.Context {
	return context.WithValue(ctx, placeKey{}, p)
}

// aside lets others have the device during a wait for a machine, and takes the
// next turn after it. Where the error says that there is none, nothing more may
// be asked or sent.
func aside(ctx context.Context, wait func()) error {
	giveBack(ctx)
	wait()
	return takeBack(ctx)
}

// giveBack and takeBack are the two ends of such a wait.
func giveBack(ctx context.Context) {
	if p, ok := ctx.Value(placeKey{}).(*place); ok {
		p.release()
	}
}

func takeBack(ctx context.Context) error {
	p, ok := ctx.Value(placeKey{}).(*place)
	if !ok {
		return nil
	}
	if err := p.take(ctx); err != nil {
		return fmt.Errorf("after a wait: %w", err)
	}
	return nil
}
