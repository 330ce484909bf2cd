package config

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDuration(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		want time.Duration
		err  string
	}{
		"go form":         {text: "5m", want: 5 * time.Minute},
		"seconds":         {text: "60", want: time.Minute},
		"part of seconds": {text: "0.5", want: 500 * time.Millisecond},
		"zero":            {text: "0", want: 0},
		"negative":        {text: "-1s", err: `"-1s" is not a duration: write 60s, 5m or a number of seconds`},
		"negative number": {text: "-1", err: `"-1" is not a duration: out of range`},
		"no number":       {text: "soon", err: `"soon" is not a duration: write 60s, 5m or a number of seconds`},
		"not a number":    {text: "NaN", err: `"NaN" is not a duration: out of range`},
		"endless":         {text: "Inf", err: `"Inf" is not a duration: out of range`},
		"overflow":        {text: "1e30", err: `"1e30" is not a duration: out of range`},
		"empty":           {text: "", err: `"" is not a duration: write 60s, 5m or a number of seconds`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d Duration
			err := d.UnmarshalText([]byte(tc.text))
			if tc.err != "" {
				require.EqualError(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, d.D())
		})
	}
}

func TestDurationInJSON(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(Duration(90 * time.Second))
	require.NoError(t, err)
	require.JSONEq(t, `"1m30s"`, string(data))
	var d Duration
	require.NoError(t, json.Unmarshal(data, &d))
	require.Equal(t, Duration(90*time.Second), d)
}
