package activities

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

const (
	// echoBytes is what ping(8) sends after the ICMP header unless told otherwise.
	echoBytes = 56
	// mostSockets bounds, for each address family, how many are open at once. One will
	// do, except where silent machines are neighbours: the kernel keeps their packets for
	// the seconds in which it looks for their link addresses, on the account of the socket
	// (some 256 packets), and it looks for 1024 neighbours at most (gc_thresh3 of arp(7)).
	mostSockets = 32
	// roomAgain is when a packet is tried again for which the kernel had no room.
	roomAgain = 20 * time.Millisecond
	// pingRate (a second) and pingBurst bound what goes out at once, when a process that
	// was held up has thousands of probes to send: no switch or router has to hold more.
	// 20,000 pings a second are 20 Mbit/s, and twice what 10,000 machines need.
	pingRate  = 20_000
	pingBurst = 100
)

// pinger sends the ICMP echo requests of one address family for a whole process,
// however many machines are asked, over one socket, which is open while somebody
// waits for an answer.
type pinger struct {
	open func() (echoConn, error)
	pace *rate.Limiter

	mu      sync.Mutex
	asked   map[uint64]*question // by number
	last    uint64               // number given
	sockets []*echoSocket
}

// echoConn sends and receives echo messages.
type echoConn interface {
	// send never waits: where the kernel has no room it returns EAGAIN or ENOBUFS.
	send(m echoMessage, to netip.Addr) error
	// receive returns the next message of its kind, whoever it is for.
	receive(buffer []byte) (m []byte, ttl int, from netip.Addr, err error)
	// parse reads an echo reply to this socket.
	parse(m []byte) (echoMessage, bool)
	Close() error
}

// echoMessage is what tells one echo message from another.
type echoMessage struct {
	seq  uint16
	data []byte
}

// question is one request that is waiting for its reply.
type question struct {
	number uint64
	to     netip.Addr
	socket *echoSocket // over which it went out
	sent   time.Time
	over   *time.Timer  // ends it; nil where whoever asked does
	tell   func(answer) // called once, by whoever takes it out of asked; it never waits
}

type answer struct {
	echo Echo
	err  error // nothing is known: the socket is gone, or it was not sent
}

// echoSocket is a socket, and the key that its requests carry: replies to another
// process, or to a socket before this one, do not have it.
type echoSocket struct {
	conn echoConn
	key  [8]byte
	took atomic.Bool // a packet
}

// Echo asks once, and waits for the reply until ctx ends. A reply comes from the
// address that was asked (RFC 1122, 3.2.2.6; RFC 4443, 4.2): what another host
// sends, even with our own payload, says nothing of this one.
func (p *pinger) Echo(ctx context.Context, to netip.Addr) (Echo, error) {
	answers := make(chan answer, 1)
	q := &question{to: to.Unmap(), tell: func(a answer) { answers <- a }}
	p.begin(q, 0, nil)
	defer p.forget(q)
	unanswered := Echo{From: to.String()}
	if err := p.send(ctx, q); err != nil {
		return unanswered, err
	}
	select {
	case a := <-answers:
		return a.echo, a.err
	case <-ctx.Done():
	}
	select {
	case a := <-answers: // it was here in time, and this process was late
		return a.echo, a.err
	default:
		return unanswered, ctx.Err()
	}
}

// Ask is Echo for whoever waits for thousands of machines: no goroutine waits for the
// reply. It calls tell once, which must not wait itself, with the reply, or when
// timeout is over. False where it cannot be sent at once; then nothing is told.
func (p *pinger) Ask(to netip.Addr, timeout time.Duration, tell func(Echo, error)) bool {
	if !p.pace.Allow() {
		return false
	}
	q := &question{to: to.Unmap(), tell: func(a answer) { tell(a.echo, a.err) }}
	unanswered := Echo{From: to.String()}
	end := func(err error) bool {
		if !p.forget(q) {
			return false
		}
		q.tell(answer{unanswered, err})
		return true
	}
	p.begin(q, timeout, func() { end(context.DeadlineExceeded) })
	err := p.sendNow(q)
	if err == nil {
		p.rest() // it may be over by now, if this process was held up
		return true
	}
	q.over.Stop()
	if noRoom(err) {
		return !p.forget(q) // told already, where it could not be taken back
	}
	end(err)
	return true
}

func newPinger(open func() (echoConn, error)) *pinger {
	return &pinger{open: open, pace: rate.NewLimiter(pingRate, pingBurst), asked: map[uint64]*question{}}
}

// begin opens a question, which is over by itself after a while where over is not nil.
func (p *pinger) begin(q *question, while time.Duration, over func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	q.number = p.last
	p.asked[q.number] = q
	if over != nil {
		q.over = time.AfterFunc(while, over)
	}
}

// forget ends a question, and reports whether it was open yet; a reply from now on is
// late.
func (p *pinger) forget(q *question) bool {
	p.mu.Lock()
	_, open := p.asked[q.number]
	delete(p.asked, q.number)
	p.mu.Unlock()
	p.rest()
	return open
}

// rest closes the sockets, whose readers end then, when no question is open.
func (p *pinger) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.asked) > 0 {
		return
	}
	for _, s := range p.sockets {
		_ = s.conn.Close()
	}
	p.sockets = nil
}

// send sends a request over the first socket that has room. Where none has, it
// tries again until ctx ends, and then nothing was asked.
func (p *pinger) send(ctx context.Context, q *question) error {
	if err := p.pace.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("too many pings at once: %w", err)
	}
	for {
		err := p.sendNow(q)
		if !noRoom(err) {
			return err
		}
		if pause(ctx, roomAgain); ctx.Err() != nil {
			return errors.New("no room to send: " + err.Error()) // not wrapped: EAGAIN counts as a timeout
		}
	}
}

func noRoom(err error) bool { return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOBUFS) }

func (p *pinger) sendNow(q *question) error {
	var full error
	for i := range mostSockets {
		s, err := p.socket(i)
		if err != nil {
			return err
		}
		if s == nil {
			break
		}
		if err = p.sendOver(s, q); !noRoom(err) {
			return err
		}
		full = err
	}
	return full
}

func (p *pinger) sendOver(s *echoSocket, q *question) error {
	data := make([]byte, echoBytes)
	copy(data, s.key[:])
	binary.BigEndian.PutUint64(data[len(s.key):], q.number)
	p.mu.Lock()
	q.socket, q.sent = s, time.Now()
	p.mu.Unlock()
	err := s.conn.send(echoMessage{seq: uint16(q.number), data: data}, q.to) //nolint:gosec // the number's low bits; the whole is in the payload
	if !noRoom(err) {
		s.took.Store(true)
	}
	return err
}

// socket returns the socket with an index, and opens it where it is the next one.
// It returns nil where the last one has not had room for a single packet: then it is
// not the sockets' room that is short.
func (p *pinger) socket(i int) (s *echoSocket, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i < len(p.sockets) {
		return p.sockets[i], nil
	}
	if i > 0 && !p.sockets[len(p.sockets)-1].took.Load() {
		return nil, nil
	}
	s = &echoSocket{}
	if s.conn, err = p.open(); err != nil {
		return nil, err
	}
	_, _ = rand.Read(s.key[:]) // never fails
	p.sockets = append(p.sockets, s)
	go p.read(s)
	return s, nil
}

// read hands replies to those who wait for them until the socket is closed.
func (p *pinger) read(s *echoSocket) {
	buffer := make([]byte, 1500) // more than any reply to our requests has
	for {
		m, ttl, from, err := s.conn.receive(buffer)
		if err != nil {
			p.fail(s, err)
			return
		}
		p.take(s, m, ttl, from, time.Now())
	}
}

// take judges one message: whatever is not the first reply of the machine that was
// asked, to a question that is still open, is nothing.
func (p *pinger) take(s *echoSocket, m []byte, ttl int, from netip.Addr, at time.Time) {
	reply, ok := s.conn.parse(m)
	if !ok || len(reply.data) != echoBytes || [8]byte(reply.data[:8]) != s.key {
		return
	}
	q, sent := p.answered(s, reply, from)
	if q == nil {
		return
	}
	if q.over != nil { // else whoever asked forgets it
		q.over.Stop()
		p.rest()
	}
	q.tell(answer{echo: Echo{Answered: true, From: q.to.String(), Bytes: len(m), TTL: ttl, RTT: at.Sub(sent)}})
}

// answered takes the question out that a reply answers, and says when it was sent; a
// second reply is a duplicate.
func (p *pinger) answered(s *echoSocket, reply echoMessage, from netip.Addr) (q *question, sent time.Time) {
	number := binary.BigEndian.Uint64(reply.data[8:])
	p.mu.Lock()
	defer p.mu.Unlock()
	q = p.asked[number]
	if q == nil || q.socket != s || reply.seq != uint16(number) || from.WithZone("") != q.to.WithZone("") { //nolint:gosec // as it was sent
		return nil, sent
	}
	delete(p.asked, number)
	return q, q.sent
}

// fail gives a socket up that the kernel has: whoever waits at it learns nothing,
// and the next question opens another.
func (p *pinger) fail(s *echoSocket, err error) {
	// Not wrapped: what the kernel says is about the socket, and not about a machine.
	lost := errors.New("the ICMP socket is lost: " + err.Error())
	for _, q := range p.without(s) {
		if q.over != nil {
			q.over.Stop()
		}
		q.tell(answer{echo: Echo{From: q.to.String()}, err: lost})
	}
	p.rest()
}

// without takes a socket out, and the questions that went over it.
func (p *pinger) without(s *echoSocket) (lost []*question) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sockets = slices.DeleteFunc(p.sockets, func(other *echoSocket) bool { return other == s })
	_ = s.conn.Close()
	for number, q := range p.asked {
		if q.socket == s {
			lost = append(lost, q)
			delete(p.asked, number)
		}
	}
	return lost
}
