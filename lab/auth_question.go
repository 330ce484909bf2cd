package lab

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
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

// authCall is authenticateHawk, as the service's reference has it.
var authCall = sync.OnceValues(func() (call, error) {
	calls, err := readCalls()
	if err != nil {
		return call{}, err
	}
	i := slices.IndexFunc(calls, func(c call) bool { return c.name == "auth.authenticateHawk" })
	return calls[i], nil
})

// check holds a question against the service's schema and returns its mistakes as
// text.
func check(raw json.RawMessage) (q question, mistakes string) {
	c, err := authCall()
	if err == nil {
		err = conforms(c.input, raw)
	}
	if err == nil {
		err = json.Unmarshal(raw, &q)
	}
	if err != nil {
		return q, "  * data: " + err.Error() + "\n"
	}
	return q, ""
}

// answer is a verdict that the service's schema allows.
func (a *Auth) answer(q question) (map[string]any, error) {
	verdict := a.verdict(q)
	c, err := authCall()
	if err == nil {
		err = conforms(c.output, verdict)
	}
	if err != nil {
		return nil, fmt.Errorf("the stand-in's own answer: %w", err)
	}
	return verdict, nil
}
