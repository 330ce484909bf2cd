package activities

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A recorded pattern has one letter for each probe, one second apart: "." was
// answered, "x" was not, "e" could not be made (no sample), "b" is a burst of
// three unanswered probes within a millisecond, "l" is an answer to an older
// probe that came after the newer ones were judged.
func play(p *pattern, record string) {
	at := time.Unix(1_000, 0)
	for _, c := range record {
		switch c {
		case '.', 'x':
			p.add(at, c == '.')
		case 'b':
			for i := range 3 {
				p.add(at.Add(time.Duration(i)*time.Millisecond/3), false)
			}
		case 'l':
			p.add(at.Add(-3*time.Second), true)
		}
		at = at.Add(time.Second)
	}
}

func TestPattern(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wasDown  bool
		record   string
		down     bool
		downAt   int // seconds after the first probe
		cameUp   bool
		evidence string
	}{
		"nothing seen":                     {record: "", evidence: "no probe could be made"},
		"stays up":                         {record: "..........", evidence: "0 of 10 probes unanswered"},
		"one lost packet":                  {record: "...x......", evidence: "1 of 10 probes unanswered"},
		"two lost packets":                 {record: "...xx.....", evidence: "2 of 10 probes unanswered"},
		"two lost packets twice":           {record: "..xx..xx..", evidence: "4 of 10 probes unanswered"},
		"flapping":                         {record: "x.x.xx.x.xx.", evidence: "7 of 12 probes unanswered"},
		"goes down":                        {record: "...xxx", down: true, downAt: 3, evidence: "3 probes in a row unanswered"},
		"down at the first probe":          {record: "xxxx", down: true, evidence: "4 probes in a row unanswered"},
		"lost packets, then down":          {record: "..x..xx.xxxxxxxxxx", down: true, downAt: 8, evidence: "10 probes in a row unanswered"},
		"a lossy network, not yet down":    {record: "..x..xx.xxxxxxxxx", evidence: "12 of 17 probes unanswered"},
		"hardly any loss, then down":       {record: "....................x.................xxx", down: true, downAt: 38, evidence: "3 probes in a row unanswered"},
		"the most that loss may ask for":   {record: "x.x.x.xxxxxxxxxxxxxxx", down: true, downAt: 6, evidence: "15 probes in a row unanswered"},
		"fast reboot":                      {record: "..xxx...", down: true, downAt: 2, evidence: "3 probes in a row unanswered"},
		"down, up, down":                   {record: "..xxx..xxx", down: true, downAt: 2, evidence: "3 probes in a row unanswered"},
		"too fast a reboot":                {record: "..xx......", evidence: "2 of 10 probes unanswered"},
		"a burst is one moment":            {record: "...b......", evidence: "3 of 12 probes unanswered"},
		"a burst, then one more":           {record: "...bx", down: true, downAt: 3, evidence: "4 probes in a row unanswered"},
		"probes that could not be made":    {record: "..eeeee..", evidence: "0 of 4 probes unanswered"},
		"no probe between two lost ones":   {record: "..xeeex.", evidence: "2 of 5 probes unanswered"},
		"down with a gap":                  {record: "..xexex", down: true, downAt: 2, evidence: "3 probes in a row unanswered"},
		"late replies do not hide a crash": {record: "...xxlx", down: true, downAt: 3, evidence: "3 probes in a row unanswered"},
		"already down":                     {wasDown: true, record: "xxxxxxxx", evidence: "was down before, 8 of 8 probes unanswered"},
		"already down, comes up":           {wasDown: true, record: "xxxxx...", cameUp: true, evidence: "was down before, answers now"},
		"already down, one stray reply":    {wasDown: true, record: "xxx.xxxx", evidence: "was down before, 7 of 8 probes unanswered"},
		"already down, up, down":           {wasDown: true, record: "xx...xxx", cameUp: true, down: true, downAt: 5, evidence: "3 probes in a row unanswered"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPattern(!c.wasDown, 3, time.Second)
			play(p, c.record)
			require.Equal(t, c.down, p.down)
			require.Equal(t, c.cameUp, p.cameUp)
			require.Equal(t, c.evidence, p.evidence())
			if c.down {
				require.Equal(t, time.Unix(1_000+int64(c.downAt), 0), p.downAt)
			}
		})
	}
}

// Whatever is seen: down needs a run of unanswered probes of the full length, and
// a machine that was down needs a run of answers before it. A run of that length
// is down where no probe was lost before, and a run five times as long always is.
func TestPatternNeedsARun(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		need := rapid.IntRange(2, 6).Draw(t, "need")
		wasUp := rapid.Bool().Draw(t, "was up")
		p := newPattern(wasUp, need, time.Second)
		at, lost, answered, mayGoDown, clean := time.Unix(0, 0), 0, 0, wasUp, true
		for _, up := range rapid.SliceOf(rapid.Bool()).Draw(t, "answered") {
			p.add(at, up)
			at = at.Add(time.Second)
			if up {
				clean = clean && lost == 0
				answered, lost = answered+1, 0
			} else {
				answered, lost = 0, lost+1
			}
			mayGoDown = mayGoDown || answered >= need
			if (lost >= need && clean || lost >= mostNeed*need) && mayGoDown && !p.down {
				t.Fatalf("%d unanswered in a row are not seen as down", lost)
			}
			if p.down && !mayGoDown {
				t.Fatal("a machine that was down has gone down")
			}
			if p.down {
				if lost < need {
					t.Fatalf("down after %d unanswered", lost)
				}
				return
			}
		}
	})
}
