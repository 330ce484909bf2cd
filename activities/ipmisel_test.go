package activities

import (
	"strings"
	"testing"

	"github.com/bougou/go-ipmi/pkg/types"
	"github.com/stretchr/testify/require"
)

// record is a SEL entry (IPMI v2.0, 32.1) with the given bytes at its places.
func record(kind byte, seconds uint32, rest ...byte) []byte {
	head := []byte{0x2a, 0, kind, byte(seconds), byte(seconds >> 8), byte(seconds >> 16), byte(seconds >> 24)}
	return append(head, append(rest, make([]byte, 9)...)[:9]...)
}

func TestSELLines(t *testing.T) {
	t.Parallel()
	const day = 1262304000 // 2010-01-01 00:00:00 UTC
	for name, c := range map[string]struct {
		record []byte
		want   string
	}{
		"power unit, asserted": {
			record(0x02, day, 0x20, 0, 4, 0x09, 0x01, 0x6f, 0x01, 0xff, 0xff),
			"  2a | 2010-01-01 00:00:00 UTC | Power Unit #0x01 | Power Cycle (01 ff ff) | Assertion",
		},
		"deasserted": {
			record(0x02, day, 0x20, 0, 4, 0x09, 0x01, 0xef, 0x01, 0xff, 0xff),
			"  2a | 2010-01-01 00:00:00 UTC | Power Unit #0x01 | Power Cycle (01 ff ff) | Deassertion",
		},
		"no event that is known": {
			record(0x02, day, 0x20, 0, 4, 0x09, 0x01, 0x00, 0x0e, 1, 2),
			"  2a | 2010-01-01 00:00:00 UTC | Power Unit #0x01 | event type 0x00 (0e 01 02) | Assertion",
		},
		"before the clock was set": {
			record(0x02, 17, 0x20, 0, 4, 0x09, 0x01, 0x6f, 0x01, 0xff, 0xff),
			"  2a | 17 s after the controller's start | Power Unit #0x01 | Power Cycle (01 ff ff) | Assertion",
		},
		"no time": {
			record(0x02, 0xffffffff, 0x20, 0, 4, 0x09, 0x01, 0x6f, 0x01, 0xff, 0xff),
			"  2a | time not known | Power Unit #0x01 | Power Cycle (01 ff ff) | Assertion",
		},
		"OEM": {
			record(0xc0, day, 0x57, 0x01, 0, 1, 2, 3, 4, 5, 6),
			"  2a | 2010-01-01 00:00:00 UTC | OEM record c0 | manufacturer 343 | 01 02 03 04 05 06",
		},
		"OEM without a time": {record(0xe0, 0x04030201, 5, 6), "  2a | no time | OEM record e0 | 01 02 03 04 05 06 ..."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := types.ParseSEL(c.record)
			require.NoError(t, err)
			require.Equal(t, c.want, selLine(e))
		})
	}
}

func TestEmptySEL(t *testing.T) {
	t.Parallel()
	require.NoError(t, noRecord(types.NewResponseError(0xcb, "")))
	require.Error(t, noRecord(types.NewResponseError(0xd4, "")))
	require.NoError(t, noRecord(nil))
	require.Equal(t, "SEL has no entries", selText(nil))
}

// FuzzSELLine holds that every record that the library takes is one line.
func FuzzSELLine(f *testing.F) {
	for _, kind := range []byte{0x02, 0xc0, 0xdf, 0xe0, 0xff, 0x00} {
		f.Add(record(kind, 0x12345678, 1, 2, 3, 4, 5, 6, 7, 8, 9))
		f.Add(record(kind, 0xffffffff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := types.ParseSEL(data)
		if err != nil {
			return
		}
		line := selLine(e)
		require.NotEmpty(t, line)
		require.NotContains(t, strings.TrimRight(line, " "), "\n")
	})
}
