package lab

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

var (
	// hostname is JSON schema's "hostname" format (RFC 1123): no "_", no IPv6.
	hostname = regexp.MustCompile(`^[0-9A-Za-z]([-0-9A-Za-z]{0,61}[0-9A-Za-z])?(\.[0-9A-Za-z]([-0-9A-Za-z]{0,61}[0-9A-Za-z])?)*$`)
	// questionMethods are those of the service's schema that HTTP APIs use.
	questionMethods = []string{"get", "post", "put", "head", "delete", "options", "patch"}
)

// question is authenticateHawk's payload. Pointers tell absent from empty.
type question struct {
	Method        *string `json:"method"`
	Resource      *string `json:"resource"`
	Host          *string `json:"host"`
	Port          *int    `json:"port"`
	Authorization string  `json:"authorization"`
	SourceIP      *string `json:"sourceIp"`
}

// check holds a question against the service's schema
// (authenticate-hawk-request.yml) and returns its mistakes as lines of text.
func check(raw json.RawMessage) (q question, mistakes string) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields() // additionalProperties: false
	if err := d.Decode(&q); err != nil {
		return q, "  * data: " + err.Error() + "\n"
	}
	var wrong []string
	for _, field := range []struct {
		name  string
		right bool
	}{
		{"method", q.Method != nil && slices.Contains(questionMethods, *q.Method)},
		{"resource", q.Resource != nil},
		{"host", q.Host != nil && hostname.MatchString(*q.Host)},
		{"port", q.Port != nil && *q.Port >= 0 && *q.Port <= 65535},
		{"sourceIp", q.SourceIP == nil || plainIP(*q.SourceIP)},
	} {
		if !field.right {
			wrong = append(wrong, "  * data."+field.name+" does not match the schema\n")
		}
	}
	return q, strings.Join(wrong, "")
}

func plainIP(s string) bool {
	ip, err := netip.ParseAddr(s)
	return err == nil && ip.Zone() == ""
}
