package activities

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/mozilla-platform-ops/roller/config"
)

// The old service's `sel list last 15`.
const selLast = 15

// IPMIList reads the last 15 entries of the system event log.
func (a *Activities) IPMIList(ctx context.Context, in Read) (ReadResult, error) {
	m, err := a.ipmiMachine(in)
	if err != nil {
		return ReadResult{}, fail(err)
	}
	var text string
	err = a.inTurn(ctx, in.RungRetry, m, "ipmi", func(ctx context.Context) error {
		text, err = a.ipmiSEL(ctx, m)
		return err
	})
	if err != nil {
		return ReadResult{}, fail(err)
	}
	return ReadResult{Text: text}, nil
}

func (a *Activities) ipmiSEL(ctx context.Context, m config.Machine) (string, error) {
	if m.IPMI.NeedsTool() {
		return a.tool(ctx, *m.IPMI, "ipmi_list", "sel", "list", "last", strconv.Itoa(selLast))
	}
	var entries []*types.SEL
	err := a.ipmiRead(ctx, m, func(ctx context.Context, s *ipmiSession) error {
		var err error
		entries, err = selTail(ctx, s)
		return err
	})
	if err != nil {
		return "", err
	}
	return selText(entries), nil
}

// Record IDs of the System Event Log (IPMI v2.0, 31.5).
const (
	selFirst = 0x0000
	selNone  = 0xffff // as "next": there is none; as a question: the last one
)

// selTail walks the log by each entry's link to the next one, and keeps the
// last few. IDs are usually counted up, so it begins that far before the last
// one if there is an entry, and else at the first.
func selTail(ctx context.Context, s *ipmiSession) ([]*types.SEL, error) {
	info, err := s.client.GetSELInfo(ctx)
	if err != nil || info.Entries == 0 {
		return nil, noRecord(err)
	}
	id := uint16(selFirst)
	if last, err := s.client.GetSELEntry(ctx, 0, selNone); err == nil {
		if sel, err := types.ParseSEL(last.Data); err == nil && sel.RecordID > selLast {
			start := sel.RecordID - selLast + 1
			if _, err := s.client.GetSELEntry(ctx, 0, start); err == nil {
				id = start
			}
		}
	}
	var out []*types.SEL
	for range int(info.Entries) {
		answer, err := s.client.GetSELEntry(ctx, 0, id)
		if err != nil {
			return out, noRecord(err)
		}
		sel, err := types.ParseSEL(answer.Data)
		if err != nil {
			return nil, err
		}
		if out = append(out, sel); len(out) > selLast {
			out = out[1:]
		}
		if id = answer.NextRecordID; id == selNone {
			break
		}
	}
	return out, nil
}

// noRecord takes CBh, "requested sensor, data, or record not present" (IPMI v2.0,
// table 5-2), for the end of the log: it is how an empty one answers.
func noRecord(err error) error {
	if answer, ok := types.IsResponseError(err); ok && answer.CompletionCode() == 0xcb {
		return nil
	}
	return err
}

func selText(entries []*types.SEL) string {
	if len(entries) == 0 {
		return emptySEL
	}
	lines := make([]string, len(entries))
	for i, e := range entries {
		lines[i] = selLine(e)
	}
	return strings.Join(lines, "\n")
}

// selLine is one entry: ID, time, sensor's type and number, event, direction.
func selLine(e *types.SEL) string {
	switch {
	case e.Standard != nil:
		s := e.Standard
		event := cmp.Or(s.EventString(), fmt.Sprintf("event type 0x%02x", uint8(s.EventReadingType)))
		return fmt.Sprintf("%4x | %s | %s #0x%02x | %s (%02x %02x %02x) | %s", e.RecordID, selTime(s.Timestamp),
			s.SensorType, uint8(s.SensorNumber), event, s.EventData.EventData1, s.EventData.EventData2, s.EventData.EventData3, s.EventDir)
	case e.OEMTimestamped != nil:
		o := e.OEMTimestamped
		return fmt.Sprintf("%4x | %s | OEM record %02x | manufacturer %d | % 02x", e.RecordID, selTime(o.Timestamp), uint8(e.RecordType), o.ManufacturerID, o.OEMDefined)
	case e.OEMNonTimestamped != nil: // of whose 13 bytes the library keeps six
		return fmt.Sprintf("%4x | no time | OEM record %02x | % 02x ...", e.RecordID, uint8(e.RecordType), e.OEMNonTimestamped.OEM[:6])
	default:
		return fmt.Sprintf("%4x | record of type %02x", e.RecordID, uint8(e.RecordType))
	}
}

// preInit is the last time that counts seconds since the controller's start, and
// not since 1970 (IPMI v2.0, 37.1).
const preInit = 0x20000000

func selTime(t time.Time) string {
	switch seconds := t.Unix(); {
	case seconds == 0xffffffff:
		return "time not known"
	case seconds <= preInit:
		return fmt.Sprintf("%d s after the controller's start", seconds)
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}
