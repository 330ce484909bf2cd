package lab

import (
	"fmt"
	"html/template"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// bugzillaAnswer is what a request gets: JSON, or a page.
type bugzillaAnswer struct {
	status int
	body   any
	page   string
}

func bugzillaReply(status int, body any) bugzillaAnswer {
	return bugzillaAnswer{status: status, body: body}
}

// bugzillaRefuse has the shape of Bugzilla's errors; the codes are those of its
// Bugzilla/WebService/Constants.pm.
func bugzillaRefuse(status, code int, message string) bugzillaAnswer {
	return bugzillaReply(status, map[string]any{
		"error": true, "code": code, "message": message, "documentation": "https://bugzilla.readthedocs.org/en/5.2/api/",
	})
}

var bugzillaPage = template.Must(template.New("").Parse("<!DOCTYPE html>\n<html><head><title>{{.}}</title></head><body><h1>{{.}}</h1></body></html>\n"))

func bugzillaReplyPage(w http.ResponseWriter, status int, title string) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(status)
	_ = bugzillaPage.Execute(w, title) // fails only when the caller has gone
}

// keyIn says where the request carries a key.
func (b *Bugzilla) keyIn(r *http.Request, body map[string]any) (places []string) {
	if r.Header.Get("X-Bugzilla-Api-Key") != "" {
		places = append(places, "header")
	}
	if r.URL.Query().Has("api_key") {
		places = append(places, "query")
	}
	if _, ok := body["api_key"]; ok {
		places = append(places, "body")
	}
	return places
}

// keySeen returns the key that this mode reads, if there is one.
func (b *Bugzilla) keySeen(r *http.Request, body map[string]any) string {
	if b.mode == BugzillaBMO {
		return r.Header.Get("X-Bugzilla-Api-Key")
	}
	if key := r.URL.Query().Get("api_key"); key != "" || r.Method == http.MethodGet {
		return key // Bugzilla does not read the body of a GET
	}
	key, _ := body["api_key"].(string)
	return key
}

var (
	bugPath     = regexp.MustCompile(`^/rest/bug/([^/]+)$`)
	commentPath = regexp.MustCompile(`^/rest/bug/([^/]+)/comment$`)
)

func (b *Bugzilla) route(r *http.Request, body map[string]any) bugzillaAnswer {
	key := b.keySeen(r, body)
	if key != "" && key != b.key {
		return bugzillaRefuse(http.StatusBadRequest, 306, "The API key you specified is invalid. Please check that you typed it correctly.")
	}
	known := key != ""
	delete(body, "api_key")
	if !known && r.Method != http.MethodGet {
		return bugzillaRefuse(http.StatusUnauthorized, 410, "You must log in before using this part of Bugzilla.")
	}
	path := r.URL.Path
	switch {
	case path == "/show_bug.cgi" && r.Method == http.MethodGet:
		return b.show(r.URL.Query().Get("id"), known)
	case path == "/rest/whoami" && r.Method == http.MethodGet && b.mode == BugzillaBMO:
		return bugzillaWhoAmI(known)
	case path == "/rest/bug" && r.Method == http.MethodGet:
		return b.search(r, known)
	case path == "/rest/bug" && r.Method == http.MethodPost:
		return b.create(body)
	}
	if m := bugPath.FindStringSubmatch(path); m != nil {
		return b.onBug(m[1], known, map[string]func(*BugzillaBug) bugzillaAnswer{
			http.MethodGet: getBug,
			http.MethodPut: func(bug *BugzillaBug) bugzillaAnswer { return b.update(bug, body) },
		}[r.Method])
	}
	if m := commentPath.FindStringSubmatch(path); m != nil {
		return b.onBug(m[1], known, map[string]func(*BugzillaBug) bugzillaAnswer{
			http.MethodGet:  bugComments,
			http.MethodPost: func(bug *BugzillaBug) bugzillaAnswer { return addBugComment(bug, body) },
		}[r.Method])
	}
	return noBugzillaResource(path, r.Method)
}

func noBugzillaResource(path, method string) bugzillaAnswer {
	return bugzillaRefuse(http.StatusNotFound, 32614, fmt.Sprintf("A REST API resource was not found for '%s %s'.", method, path))
}

func bugzillaWhoAmI(known bool) bugzillaAnswer {
	if !known {
		return bugzillaRefuse(http.StatusUnauthorized, 410, "You must log in before using this part of Bugzilla.")
	}
	return bugzillaReply(http.StatusOK, map[string]any{"id": 1, "name": "roller@bugs.example", "real_name": "roller"})
}

// onBug finds a bug by number or alias and hands it on.
func (b *Bugzilla) onBug(name string, known bool, do func(*BugzillaBug) bugzillaAnswer) bugzillaAnswer {
	if do == nil {
		return noBugzillaResource(name, "this method")
	}
	id, err := strconv.Atoi(name)
	i := slices.IndexFunc(b.bugs, func(bug *BugzillaBug) bool {
		return err == nil && bug.ID == id || err != nil && strings.EqualFold(bug.Alias, name)
	})
	switch {
	case i < 0 && err != nil:
		return bugzillaRefuse(http.StatusBadRequest, 100, fmt.Sprintf("'%s' is not a valid bug number nor an alias to a bug.", name))
	case i < 0:
		return bugzillaRefuse(http.StatusNotFound, 101, fmt.Sprintf("Bug #%d does not exist.", id))
	case b.bugs[i].Private && !known:
		return bugzillaRefuse(http.StatusUnauthorized, 102, fmt.Sprintf("You are not authorized to access bug #%d.", b.bugs[i].ID))
	}
	return do(b.bugs[i])
}

func getBug(bug *BugzillaBug) bugzillaAnswer {
	return bugzillaReply(http.StatusOK, map[string]any{"bugs": []any{bugView(bug)}, "faults": []any{}})
}

// bugView is a bug as the REST API shows it; an alias is a list since Bugzilla 5.
func bugView(bug *BugzillaBug) map[string]any {
	alias := []string{}
	if bug.Alias != "" {
		alias = append(alias, bug.Alias)
	}
	return map[string]any{
		"id": bug.ID, "alias": alias, "product": bug.Product, "component": bug.Component, "version": bug.Version,
		"summary": bug.Summary, "status": bug.Status, "resolution": bug.Resolution, "is_open": bug.Open(),
		"blocks": append([]int{}, bug.Blocks...),
	}
}

// search matches parts of a summary in any letter case, and whole values of
// product, component and alias; resolution "---" is every open bug.
func (b *Bugzilla) search(r *http.Request, known bool) bugzillaAnswer {
	q := r.URL.Query()
	has := func(field, value string) bool { return !q.Has(field) || slices.Contains(q[field], value) }
	found := []any{}
	for _, bug := range b.bugs {
		resolution := bug.Resolution
		if bug.Open() {
			resolution = "---"
		}
		if (known || !bug.Private) && has("product", bug.Product) && has("component", bug.Component) &&
			has("alias", bug.Alias) && has("resolution", resolution) &&
			strings.Contains(strings.ToLower(bug.Summary), strings.ToLower(q.Get("summary"))) {
			found = append(found, bugView(bug))
		}
	}
	return bugzillaReply(http.StatusOK, map[string]any{"bugs": found})
}

func (b *Bugzilla) show(name string, known bool) bugzillaAnswer {
	return b.onBug(name, known, func(bug *BugzillaBug) bugzillaAnswer {
		return bugzillaAnswer{status: http.StatusOK, page: fmt.Sprintf("%d - %s", bug.ID, bug.Summary)}
	})
}
