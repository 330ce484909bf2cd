package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

var outletCases = map[string]struct {
	text string
	want Outlet
	err  string
}{
	"first":             {text: "pdu1.example:AA1", want: Outlet{PDU: "pdu1.example", Host: "pdu1.example", Port: 161, Tower: 1, Infeed: 1, Number: 1}},
	"lower case":        {text: "pdu1:bc12", want: Outlet{PDU: "pdu1", Host: "pdu1", Port: 161, Tower: 2, Infeed: 3, Number: 12}},
	"host in capitals":  {text: "PDU1.Example:Ca64", want: Outlet{PDU: "pdu1.example", Host: "pdu1.example", Port: 161, Tower: 3, Infeed: 1, Number: 64}},
	"last letters":      {text: "pdu1:ZZ9", want: Outlet{PDU: "pdu1", Host: "pdu1", Port: 161, Tower: 26, Infeed: 26, Number: 9}},
	"highest of Sentry": {text: "pdu1:AA128", want: Outlet{PDU: "pdu1", Host: "pdu1", Port: 161, Tower: 1, Infeed: 1, Number: 128}},
	"outlet 129":        {text: "pdu1:AA129", err: `"pdu1:AA129" is not an outlet: their numbers are 1 to 128`},
	"outlet 0":          {text: "pdu1:AA0", err: `"pdu1:AA0" is not an outlet: write pdu1.example:AB12 for tower A, infeed B, outlet 12, else pdu1.example:7 or pdu1.example:1.7`},
	"leading zero":      {text: "pdu1:AA01", err: `"pdu1:AA01" is not an outlet: write pdu1.example:AB12 for tower A, infeed B, outlet 12, else pdu1.example:7 or pdu1.example:1.7`},
	"no infeed":         {text: "pdu1:A1", err: `"pdu1:A1" is not an outlet: write pdu1.example:AB12 for tower A, infeed B, outlet 12, else pdu1.example:7 or pdu1.example:1.7`},
	"no PDU":            {text: ":AA1", err: `":AA1" is not an outlet: write pdu1.example:AB12 for tower A, infeed B, outlet 12, else pdu1.example:7 or pdu1.example:1.7`},
	"no colon":          {text: "AA1", err: `"AA1" is not an outlet: write pdu1.example:AB12 for tower A, infeed B, outlet 12, else pdu1.example:7 or pdu1.example:1.7`},
	"two colons":        {text: "pdu1:161:AA1", err: `"pdu1:161:AA1" is not an outlet: write pdu1.example:AB12 for tower A, infeed B, outlet 12, else pdu1.example:7 or pdu1.example:1.7`},
	"shell in the host": {text: "pdu1;id:AA1", err: `"pdu1;id:AA1" is not an outlet: write pdu1.example:AB12 for tower A, infeed B, outlet 12, else pdu1.example:7 or pdu1.example:1.7`},
	"an option":         {text: "-v:AA1", err: `"-v:AA1" is not an outlet: write pdu1.example:AB12 for tower A, infeed B, outlet 12, else pdu1.example:7 or pdu1.example:1.7`},
	"Kelvin sign":       {text: "pdu1:A\u212a1", err: "\"pdu1:A\u212a1\" is not an outlet: write pdu1.example:AB12 for tower A, infeed B, outlet 12, else pdu1.example:7 or pdu1.example:1.7"},
	"number":            {text: "pdu2.example:7", want: Outlet{PDU: "pdu2.example", Host: "pdu2.example", Port: 161, Number: 7}},
	"group and port":    {text: "switch:1.24", want: Outlet{PDU: "switch", Host: "switch", Port: 161, Group: 1, Number: 24}},
	"highest":           {text: "switch:9999.9999", want: Outlet{PDU: "switch", Host: "switch", Port: 161, Group: 9999, Number: 9999}},
	"number 0":          {text: "pdu1:0", err: `"pdu1:0" is not an outlet: write pdu1.example:AB12 for tower A, infeed B, outlet 12, else pdu1.example:7 or pdu1.example:1.7`},
	"group 0":           {text: "pdu1:0.7", err: `"pdu1:0.7" is not an outlet: write pdu1.example:AB12 for tower A, infeed B, outlet 12, else pdu1.example:7 or pdu1.example:1.7`},
	"number 10000":      {text: "pdu1:10000", err: `"pdu1:10000" is not an outlet: write pdu1.example:AB12 for tower A, infeed B, outlet 12, else pdu1.example:7 or pdu1.example:1.7`},
	"an OID":            {text: "pdu1:1.2.3", err: `"pdu1:1.2.3" is not an outlet: write pdu1.example:AB12 for tower A, infeed B, outlet 12, else pdu1.example:7 or pdu1.example:1.7`},
	"line break":        {text: "pdu1:AA1\n", err: `"pdu1:AA1\n" is not an outlet: write pdu1.example:AB12 for tower A, infeed B, outlet 12, else pdu1.example:7 or pdu1.example:1.7`},
}

func TestParseOutlet(t *testing.T) {
	t.Parallel()
	for name, tc := range outletCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseOutlet(tc.text)
			if tc.err != "" {
				require.EqualError(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

// FuzzParseOutlet holds that whatever is taken is one outlet of the MIB, and
// that its printed form is the same outlet again.
func FuzzParseOutlet(f *testing.F) {
	for _, tc := range outletCases {
		f.Add(tc.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := ParseOutlet(text)
		if err != nil {
			require.Zero(t, o)
			return
		}
		tower := o.Tower >= 1 && o.Tower <= 26 && o.Infeed >= 1 && o.Infeed <= 26 && o.Number <= 128 && o.Group == 0
		number := o.Tower == 0 && o.Infeed == 0 && o.Group >= 0 && o.Group <= 9999 && o.Number <= 9999
		require.True(t, o.Number >= 1 && (tower || number), "%+v", o)
		again, err := ParseOutlet(o.String())
		require.NoError(t, err)
		require.Equal(t, o, again)
	})
}
