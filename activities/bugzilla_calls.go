package activities

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Bugzilla's error codes, from Bugzilla/WebService/Constants.pm. The HTTP
// status says less: 100 is a 400, 101 a 404.
const (
	codeNoAlias   = 100   // no bug has this alias
	codeNoBug     = 101   // no bug has this number
	codeAlias     = 103   // the alias is taken, or cannot be one
	codeAuthFirst = 300   // to 307: the account, or (306) the key
	codeAuthLast  = 307   //
	codeObject    = 51    // something that is named is not there, a user in some versions
	codeUser      = 504   // a user who is named is not there
	codeLogin     = 410   // a login is needed
	codeUnknown   = 32000 // anything without a code, rate limits among it; negative where it is Bugzilla's fault
)

// whoami is the path that tells whether the header is understood: upstream's
// Bugzilla does not know it, or knows nobody by a header it does not read.
const whoami = "whoami"

// bugzillaError is Bugzilla's own answer, in its REST API's form.
type bugzillaError struct {
	code    int
	message string
}

// Error implements error.
func (e *bugzillaError) Error() string { return fmt.Sprintf("%s (code %d)", e.message, e.code) }

// auth reports whether the key is what Bugzilla does not like.
func (e *bugzillaError) auth() bool {
	return e.code == codeLogin || e.code >= codeAuthFirst && e.code <= codeAuthLast
}

func isCode(err error, codes ...int) bool {
	answer, ok := errors.AsType[*bugzillaError](err)
	return ok && slices.Contains(codes, answer.code)
}

// foundBug is what is read of a bug.
type foundBug struct {
	ID        int    `json:"id"`
	Open      bool   `json:"is_open"`
	Summary   string `json:"summary"`
	Product   string `json:"product"`
	Component string `json:"component"`
}

const foundFields = "id,is_open,summary,product,component"

// login finds out how the key has to be sent: by the header alone if the
// server knows whose it is then, else in the query or the body as well.
func (b *bugzilla) login(ctx context.Context) error {
	var user struct {
		ID int `json:"id"`
	}
	err := b.call(ctx, http.MethodGet, whoami, nil, nil, &user)
	if answer, ok := errors.AsType[*bugzillaError](err); ok && (!answer.auth() || answer.code == codeLogin) {
		return nil
	}
	b.headerOnly = err == nil && user.ID != 0
	return err
}

func (b *bugzilla) byAlias(ctx context.Context, alias string) (foundBug, error) {
	var answer struct {
		Bugs []foundBug `json:"bugs"`
	}
	err := b.call(ctx, http.MethodGet, "bug/"+url.PathEscape(alias), url.Values{"include_fields": {foundFields}}, nil, &answer)
	if err == nil && len(answer.Bugs) == 0 {
		err = refused("bugzilla: %w", &bugzillaError{code: codeNoAlias, message: "no bug in the answer"})
	}
	if err != nil {
		return foundBug{}, err
	}
	return answer.Bugs[0], nil
}

// openBug returns the oldest open bug with the new one's product, component and
// summary, or 0. Bugzilla matches parts of a summary; here it must be the whole.
func (b *bugzilla) openBug(ctx context.Context, bug map[string]any) (int, error) {
	product, component, summary := fmt.Sprint(bug["product"]), fmt.Sprint(bug["component"]), fmt.Sprint(bug["summary"])
	var answer struct {
		Bugs []foundBug `json:"bugs"`
	}
	err := b.call(ctx, http.MethodGet, "bug", url.Values{
		"product": {product}, "component": {component}, "summary": {summary},
		"resolution": {"---"}, "include_fields": {foundFields},
	}, nil, &answer)
	oldest := 0
	for _, found := range answer.Bugs {
		same := found.Product == product && found.Component == component && sameText(found.Summary, summary)
		if same && found.Open && (oldest == 0 || found.ID < oldest) {
			oldest = found.ID
		}
	}
	return oldest, err
}

func (b *bugzilla) create(ctx context.Context, bug map[string]any) (int, error) {
	var answer struct {
		ID int `json:"id"`
	}
	err := b.call(ctx, http.MethodPost, "bug", nil, bug, &answer)
	if err == nil && answer.ID == 0 {
		err = notSent("bugzilla: no bug number in the answer (%w)", errAnswerLost)
	}
	return answer.ID, err
}

func (b *bugzilla) update(ctx context.Context, id int, changes map[string]any) error {
	return b.call(ctx, http.MethodPut, "bug/"+strconv.Itoa(id), nil, changes, nil)
}

func (b *bugzilla) comment(ctx context.Context, id int, text string) error {
	return b.call(ctx, http.MethodPost, fmt.Sprintf("bug/%d/comment", id), nil, map[string]any{"comment": text}, nil)
}

// bugComment is one comment; number 0 is the bug's description.
type bugComment struct {
	Text  string `json:"text"`
	Count int    `json:"count"`
}

// comments returns a bug's comments, the oldest first.
func (b *bugzilla) comments(ctx context.Context, id int) ([]bugComment, error) {
	var answer struct {
		Bugs map[string]struct {
			Comments []bugComment `json:"comments"`
		} `json:"bugs"`
	}
	err := b.call(ctx, http.MethodGet, fmt.Sprintf("bug/%d/comment", id), url.Values{"include_fields": {"text,count"}}, nil, &answer)
	return answer.Bugs[strconv.Itoa(id)].Comments, err
}

// findComment returns the number of the comment with this text, 0 for the bug's
// description, or -1.
func (b *bugzilla) findComment(ctx context.Context, id int, text string) (int, error) {
	comments, err := b.comments(ctx, id)
	for _, c := range comments {
		if sameText(c.Text, text) {
			return c.Count, err
		}
	}
	return -1, err
}

// sameText ignores white space, which Bugzilla trims and whose line ends it changes.
func sameText(a, b string) bool {
	return strings.Join(strings.Fields(a), " ") == strings.Join(strings.Fields(b), " ")
}
