package lab

import (
	"time"

	"github.com/gosnmp/gosnmp"
)

// The account of every PDU for SNMPv3, which has it sign (SHA-256) and encrypt
// (AES) each message.
const (
	SNMPUser         = "roller"
	SNMPAuthPassword = "s3cret-auth"
	SNMPPrivPassword = "s3cret-priv"
)

// Counters of USM by which an agent says what it does not like (RFC 3414, 3.2).
const (
	usmUnsupportedSecLevels = ".1.3.6.1.6.3.15.1.1.1.0"
	usmUnknownUserNames     = ".1.3.6.1.6.3.15.1.1.3.0"
	usmUnknownEngineIDs     = ".1.3.6.1.6.3.15.1.1.4.0"
	usmWrongDigests         = ".1.3.6.1.6.3.15.1.1.5.0"
)

// usm is a PDU's side of SNMPv3's user-based security model.
type usm struct {
	engine string
	began  time.Time
	user   *gosnmp.UsmSecurityParameters // with the keys of this engine
}

func newUSM(host string) (*usm, error) {
	u := &usm{engine: "\x80\x00\x00\x00\x04" + host, began: time.Now()} // RFC 3411, SnmpEngineID: administratively assigned text
	u.user = &gosnmp.UsmSecurityParameters{
		AuthoritativeEngineID: u.engine, UserName: SNMPUser,
		AuthenticationProtocol: gosnmp.SHA256, AuthenticationPassphrase: SNMPAuthPassword,
		PrivacyProtocol: gosnmp.AES, PrivacyPassphrase: SNMPPrivPassword,
	}
	return u, u.user.InitSecurityKeys()
}

// open returns the request in a message, or the report that it is answered with.
func (u *usm) open(datagram []byte) (request, report *gosnmp.SnmpPacket) {
	stranger := &gosnmp.GoSNMP{Version: gosnmp.Version3, SecurityModel: gosnmp.UserSecurityModel, SecurityParameters: &gosnmp.UsmSecurityParameters{UserName: "anybody"}}
	seen, _ := stranger.SnmpDecodePacket(append([]byte(nil), datagram...)) // of what is encrypted it reads the header
	said, ok := seen.SecurityParameters.(*gosnmp.UsmSecurityParameters)
	switch {
	case !ok:
		return nil, nil
	case said.AuthoritativeEngineID != u.engine:
		return nil, u.report(seen, said, usmUnknownEngineIDs)
	case said.UserName != SNMPUser:
		return nil, u.report(seen, said, usmUnknownUserNames)
	case seen.MsgFlags&gosnmp.AuthPriv != gosnmp.AuthPriv:
		return nil, u.report(seen, said, usmUnsupportedSecLevels)
	}
	member := &gosnmp.GoSNMP{Version: gosnmp.Version3, SecurityModel: gosnmp.UserSecurityModel, MsgFlags: gosnmp.AuthPriv, SecurityParameters: u.user}
	request, err := member.UnmarshalTrap(datagram, true)
	if err != nil {
		return nil, u.report(seen, said, usmWrongDigests)
	}
	return request, nil
}

// report is unsigned: its reader may not have a key yet, or the wrong one.
func (u *usm) report(seen *gosnmp.SnmpPacket, said *gosnmp.UsmSecurityParameters, counter string) *gosnmp.SnmpPacket {
	return &gosnmp.SnmpPacket{
		Version: gosnmp.Version3, MsgID: seen.MsgID, RequestID: seen.RequestID, SecurityModel: gosnmp.UserSecurityModel,
		MsgFlags: gosnmp.NoAuthNoPriv, PDUType: gosnmp.Report, ContextEngineID: u.engine,
		SecurityParameters: &gosnmp.UsmSecurityParameters{
			AuthoritativeEngineID: u.engine, AuthoritativeEngineBoots: 1, AuthoritativeEngineTime: u.time(), UserName: said.UserName,
		},
		Variables: []gosnmp.SnmpPDU{{Name: counter, Type: gosnmp.Counter32, Value: uint32(1)}},
	}
}

func (u *usm) time() uint32 { return uint32(time.Since(u.began).Seconds()) }

// seal makes the response to a request one that its user can read.
func (u *usm) seal(response, request *gosnmp.SnmpPacket) error {
	response.MsgID, response.MsgFlags, response.SecurityModel = request.MsgID, gosnmp.AuthPriv, gosnmp.UserSecurityModel
	response.ContextEngineID, response.ContextName = request.ContextEngineID, request.ContextName
	user := u.user.Copy()
	response.SecurityParameters = user
	sealed, _ := user.(*gosnmp.UsmSecurityParameters)
	sealed.AuthoritativeEngineBoots, sealed.AuthoritativeEngineTime = 1, u.time()
	return u.user.InitPacket(response)
}
