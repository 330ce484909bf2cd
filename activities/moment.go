package activities

import "time"

// moment is a time by both clocks. A process that was stopped, or a virtual
// machine that was paused, shows in one of them.
type moment struct {
	mono time.Time
	wall time.Time
}

func now() moment {
	t := time.Now()
	return moment{t, t.Round(0)}
}

// since returns how long ago it was by the clock that says more.
func (m moment) since() time.Duration {
	return max(time.Since(m.mono), time.Now().Round(0).Sub(m.wall))
}
