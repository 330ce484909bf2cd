package lab

import (
	"fmt"
	"sync"
	"time"
)

// What an outlet can be told to do, by the values of Sentry3-MIB's
// outletControlAction.
const (
	actionNone   = 0
	actionOn     = 1
	actionOff    = 2
	actionReboot = 3
)

var actionNames = map[int]string{actionNone: "none", actionOn: "on", actionOff: "off", actionReboot: "reboot"}

// Values of Sentry3-MIB's outletStatus.
const (
	statusOff = 0
	statusOn  = 1
)

// Values of Sentry3-MIB's outletControlState.
const (
	controlIdleOn = 1
	controlOff    = 4
	controlOn     = 5
	controlReboot = 8
)

// outlet is one outlet; on a Sentry of tower A, infeed A.
type outlet struct {
	pdu    *pdu
	number int
	m      *Machine
	second bool // its second feed

	mu      sync.Mutex
	on      bool
	control int
	gen     int
	timer   *time.Timer
}

// dialled is its name at a PDU that is named by its address.
func (o *outlet) dialled() string { return o.pdu.addr + ":" + o.name() }

func (o *outlet) name() string { return fmt.Sprintf(o.pdu.model.name, o.number) }

// set takes an action, which acts a moment after it is acknowledged. It reports
// whether it will.
func (o *outlet) set(action int) bool {
	if o.m.Faults().OutletStuck || action == actionNone {
		return action == actionNone
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	lag := o.m.timing.PDULag
	switch action {
	case actionOn:
		o.control = controlOn
		o.plan(lag, func() { o.turn(true) })
	case actionOff:
		o.control = controlOff
		o.plan(lag, func() { o.turn(false) })
	case actionReboot:
		o.control = controlReboot
		o.plan(lag, func() {
			o.turn(false)
			o.plan(o.m.timing.PDUDelay, func() {
				o.control = controlOn
				o.turn(true)
			})
		})
	}
	return true
}

// plan replaces what was to happen next; o.mu is held, and is when act runs.
func (o *outlet) plan(delay time.Duration, act func()) {
	o.cancel()
	gen := o.gen
	o.timer = time.AfterFunc(delay, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.gen == gen {
			act()
		}
	})
}

func (o *outlet) cancel() {
	o.gen++
	if o.timer != nil {
		o.timer.Stop()
	}
}

func (o *outlet) turn(on bool) {
	if o.on != on {
		o.on = on
		o.m.feed(on)
	}
}

// dead reports whether the PDU is silent about it.
func (o *outlet) dead() bool {
	f := o.m.Faults()
	return o.second && f.SecondPDUDead || !o.second && f.PDUDead
}

func (o *outlet) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cancel()
}

func (o *outlet) status() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.on {
		return statusOn
	}
	return statusOff
}

func (o *outlet) controlState() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.control
}
