package api

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

// code is what went wrong, in Taskcluster's words: its dashboards and clients
// know them.
type code string

const (
	inputInvalid       code = "InputValidationError"
	authFailed         code = "AuthenticationFailed"
	insufficientScopes code = "InsufficientScopes"
	notFound           code = "ResourceNotFound"
	methodNotAllowed   code = "MethodNotAllowed"
	conflict           code = "RequestConflict"
	inputTooLarge      code = "InputTooLarge"
	tooMany            code = "TooManyRequests"
	internal           code = "InternalServerError"
	unavailable        code = "ServiceUnavailable"
)

// statuses is the one place where a code becomes an HTTP status.
var statuses = map[code]int{
	inputInvalid:       http.StatusBadRequest,
	authFailed:         http.StatusUnauthorized,
	insufficientScopes: http.StatusForbidden,
	notFound:           http.StatusNotFound,
	methodNotAllowed:   http.StatusMethodNotAllowed,
	conflict:           http.StatusConflict,
	inputTooLarge:      http.StatusRequestHeaderFieldsTooLarge,
	tooMany:            http.StatusTooManyRequests,
	internal:           http.StatusInternalServerError,
	unavailable:        http.StatusServiceUnavailable,
}

// retryAfter is when to ask again after a 503 or 429, in seconds (RFC 9110,
// 10.2.3): about as long as a restart of a service takes.
const retryAfter = "10"

// failedMessage is all that is said of roller's own mistakes.
const failedMessage = "roller failed; its log says why, under this answer's X-Request-Id"

// failure is a refused request. The message is shown; the cause, which may hold
// a backend's own text, is only logged.
type failure struct {
	code    code
	message string
	fields  map[string][]string // what is wrong with which parameter
	cause   error
	again   time.Duration // when to ask again, where that is known
}

// Error implements error.
func (f *failure) Error() string { return string(f.code) + ": " + f.message }

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.cause }

// retryAfter is in whole seconds, and never too early.
func (f *failure) retryAfter() string {
	if f.again == 0 {
		return retryAfter
	}
	return strconv.FormatInt(int64(math.Ceil(f.again.Seconds())), 10)
}

func refuse(c code, format string, args ...any) *failure {
	return &failure{code: c, message: fmt.Sprintf(format, args...)}
}

// refuseFields is a 400 that names each wrong parameter.
func refuseFields(fields map[string][]string) *failure {
	var texts []string
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		texts = append(texts, field+": "+strings.Join(fields[field], ", "))
	}
	return &failure{code: inputInvalid, message: strings.Join(texts, "; "), fields: fields}
}

// requestInfo says which request failed, as Taskcluster's errors do; a payload
// is never read, and so is always empty.
type requestInfo struct {
	Method  string            `json:"method"`
	Params  map[string]string `json:"params"`
	Payload struct{}          `json:"payload"`
	Time    time.Time         `json:"time"`
}

// fail answers with the failure that err is; an error of any other kind is
// roller's own mistake.
func (s *server) fail(c *gin.Context, err error) {
	f, ok := errors.AsType[*failure](err)
	if !ok {
		f = &failure{code: internal, message: failedMessage, cause: err}
	}
	note(c).failed(f)
	if f.code == authFailed {
		c.Header("WWW-Authenticate", "hawk")
	}
	if f.code == unavailable || f.code == tooMany {
		c.Header("Retry-After", f.retryAfter())
	}
	params := map[string]string{}
	for _, p := range c.Params {
		params[p.Key] = p.Value
	}
	c.AbortWithStatusJSON(statuses[f.code], s.errorBody(f, c.Request.Method, params))
}

func (s *server) errorBody(f *failure, method string, params map[string]string) map[string]any {
	body := map[string]any{}
	for field, messages := range f.fields {
		body[field] = messages
	}
	body["code"], body["message"] = f.code, f.message
	body["detail"] = f.message // where the old service's clients look
	body["requestInfo"] = requestInfo{Method: method, Params: params, Time: s.now().UTC()}
	return body
}
