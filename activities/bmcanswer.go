package activities

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
)

// bmcMessage is one message of an error answer: "MessageId" in Redfish
// (DSP0266, error responses), "MessageID" in HP's REST before it, which
// encoding/json takes for the same.
type bmcMessage struct {
	MessageID string `json:"MessageId"`
	Message   string `json:"Message"`
}

// bmcMessages finds the messages of an answer in Redfish's form or HP's; none
// where it has neither.
func bmcMessages(body []byte) []bmcMessage {
	var answer struct {
		Error struct {
			Code    string       `json:"code"`
			Message string       `json:"message"`
			Info    []bmcMessage `json:"@Message.ExtendedInfo"`
		} `json:"error"`
		Messages []bmcMessage `json:"Messages"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return nil
	}
	all := append(answer.Error.Info, answer.Messages...)
	if answer.Error.Code != "" || answer.Error.Message != "" {
		all = append(all, bmcMessage{answer.Error.Code, answer.Error.Message})
	}
	return all
}

// alreadyForm is how the vendors say that there is nothing to do ("Server is
// already powered ON.", "The system is already in that state").
var alreadyForm = regexp.MustCompile(`(?i)\balready\b.{0,40}\b(state|on|off|powered)\b`)

// otherStateForm are the messages that the power state does not allow the reset
// (iLO.2.x.InvalidOperationForSystemState, Base.1.x.ResourceInStandby).
var otherStateForm = regexp.MustCompile(`\A[A-Za-z0-9.]*(InvalidOperationForSystemState|ResourceInStandby)\z`)

// idForm is a message ID that can be shown: registry, version, name.
var idForm = regexp.MustCompile(`\A[A-Za-z][A-Za-z0-9]{0,30}(\.[0-9]{1,4}){0,3}\.[A-Za-z0-9]{1,60}\z`)

// actMeaning is what became of a command, "" for done. already says that the
// device was in the state that was asked for and did nothing.
func actMeaning(a act) (m Meaning, already bool) {
	switch {
	case a.status == 0 && !a.begun:
		return NotSent, false
	case a.status == 0:
		return Unknown, false
	case a.status >= 200 && a.status < 300:
		return "", false
	}
	if a.status == http.StatusBadRequest || a.status == http.StatusConflict {
		for _, msg := range bmcMessages(a.body) {
			if alreadyForm.MatchString(msg.Message) {
				return "", true
			}
			if otherStateForm.MatchString(msg.MessageID) {
				return NotSent, false
			}
		}
	}
	switch {
	case comesRight(a.status):
		return NotSent, false
	case a.status == http.StatusRequestTimeout, a.status >= 500 && a.status != http.StatusNotImplemented, a.status < 200:
		return Unknown, false
	default:
		return Refused, false
	}
}

// comesRight are the statuses of a device that is busy and has done nothing
// (RFC 9110, 15.5.10 Conflict; RFC 4918, 11.3 Locked; RFC 6585, 4).
func comesRight(status int) bool {
	return status == http.StatusConflict || status == http.StatusLocked || status == http.StatusTooManyRequests
}

// actText says how the device answered, with its message IDs and without its
// texts.
func actText(a act) string {
	text := statusText(a.status)
	for _, msg := range bmcMessages(a.body) {
		if idForm.MatchString(msg.MessageID) && !strings.Contains(text, msg.MessageID) && len(text) < 200 {
			text += ", " + msg.MessageID
		}
	}
	return text
}
