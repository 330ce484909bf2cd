package lab

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/bougou/go-ipmi/pkg/handlers"
	"github.com/bougou/go-ipmi/pkg/types"
)

// SEL commands and records (IPMI v2.0, sections 31 and 32). The library's
// server has none.
const (
	selVersion      = 0x51                         // IPMI v1.5 and later, section 31.2
	selOperations   = 0x02                         // reserving is supported, section 31.2
	selFreeBytes    = 16000                        // any number that is not "full"
	selRecordSystem = 0x02                         // a system event record, section 32.1
	selFirst        = uint16(0x0000)               // as a record ID in a request: the first entry
	selLast         = uint16(0xffff)               // as one: the last entry; in a reply: there is no next
	selWhole        = 0xff                         // bytes to read: the entire record
	selReservation  = uint16(0x0001)               // nothing ever cancels it
	selRecordSize   = 16                           // bytes
	generatorBMC    = types.GeneratorID(0x0020)    // the BMC's own address
	eventFormat     = 0x04                         // event message format of IPMI v1.5 and later
	sensorSpecific  = types.EventReadingType(0x6f) // section 42.1
)

// newSEL is a log of a machine with an ordinary past.
func newSEL(now time.Time) [][]byte {
	var records [][]byte
	for i, event := range []struct {
		ago    time.Duration
		sensor types.SensorType // table 42-3
		offset uint8
	}{
		{72 * time.Hour, 0x09, 0x00}, // power unit: power off
		{72 * time.Hour, 0x1f, 0x01}, // OS boot: boot completed, from disk
		{24 * time.Hour, 0x10, 0x02}, // event logging disabled: log cleared
	} {
		record := types.SEL{
			RecordID: uint16(i + 1), RecordType: selRecordSystem,
			Standard: &types.SELStandard{
				Timestamp: now.Add(-event.ago), GeneratorID: generatorBMC, EvMRev: eventFormat,
				SensorType: event.sensor, SensorNumber: types.SensorNumber(i + 1),
				EventReadingType: sensorSpecific,
				EventData:        types.EventData{EventData1: event.offset, EventData2: 0xff, EventData3: 0xff},
			},
		}
		records = append(records, record.Pack())
	}
	return records
}

func registerSEL(r *handlers.Registry, records [][]byte) {
	r.RegisterFunc(types.CommandGetSELInfo, func(context.Context, *handlers.HandlerContext, []byte) ([]byte, types.CompletionCode, error) {
		return selInfo(records), types.CodeOK, nil
	})
	r.RegisterFunc(types.CommandReserveSEL, func(context.Context, *handlers.HandlerContext, []byte) ([]byte, types.CompletionCode, error) {
		return binary.LittleEndian.AppendUint16(nil, selReservation), types.CodeOK, nil
	})
	r.RegisterFunc(types.CommandGetSELEntry, func(_ context.Context, _ *handlers.HandlerContext, request []byte) ([]byte, types.CompletionCode, error) {
		response, code := selEntry(records, request)
		return response, code, nil
	})
}

// selInfo is the reply of Get SEL Info, section 31.2.
func selInfo(records [][]byte) []byte {
	out := []byte{selVersion}
	out = binary.LittleEndian.AppendUint16(out, uint16(len(records))) //nolint:gosec // a handful
	out = binary.LittleEndian.AppendUint16(out, selFreeBytes)
	out = append(out, records[len(records)-1][3:7]...) // last added: that record's own time stamp
	out = binary.LittleEndian.AppendUint32(out, 0)     // last erased: never
	return append(out, selOperations)
}

// selEntry is the reply of Get SEL Entry, section 31.5.
func selEntry(records [][]byte, request []byte) ([]byte, types.CompletionCode) {
	const requestSize = 6 // reservation, record, offset, bytes to read
	if len(request) < requestSize {
		return nil, types.CodeRequestDataTruncated
	}
	id := binary.LittleEndian.Uint16(request[2:])
	switch id {
	case selFirst:
		id = 1
	case selLast:
		id = uint16(len(records)) //nolint:gosec // a handful
	}
	from, count := int(request[4]), int(request[5])
	if int(id) > len(records) || from >= selRecordSize {
		return nil, types.CodeRequestedDataNotPresent
	}
	to := selRecordSize
	if count != selWhole {
		to = min(to, from+count)
	}
	next := selLast
	if int(id) < len(records) {
		next = id + 1
	}
	return append(binary.LittleEndian.AppendUint16(nil, next), records[id-1][from:to]...), types.CodeOK
}
