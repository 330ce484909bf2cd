package lab

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Limits of Bugzilla's database, in characters.
const (
	maxAlias   = 40    // bugs_aliases.alias
	maxSummary = 255   // bugs.short_desc
	maxComment = 65535 // Bugzilla/Constants.pm, MAX_COMMENT_LENGTH
)

// create files a bug. "blocks" is dropped, as for everybody who may not edit
// bugs at creation.
func (b *Bugzilla) create(body map[string]any) bugzillaAnswer {
	text := func(field string) string {
		s, _ := body[field].(string)
		return strings.TrimSpace(s)
	}
	for _, field := range []string{"product", "component", "summary", "version"} {
		if text(field) == "" {
			return bugzillaRefuse(http.StatusBadRequest, 50, fmt.Sprintf("The function create requires a %s argument, and that argument was not set.", field))
		}
	}
	if len(text("summary")) > maxSummary {
		return bugzillaRefuse(http.StatusBadRequest, 107, "The text you entered in the Summary field is too long.")
	}
	if len(text("description")) > maxComment {
		return bugzillaRefuse(http.StatusBadRequest, 114, "Comments cannot be longer than 65535 characters.")
	}
	if problem := b.aliasProblem(text("alias")); problem != "" {
		return bugzillaRefuse(http.StatusBadRequest, 103, problem)
	}
	copied, _ := body["cc"].([]any)
	for _, who := range copied {
		if name, _ := who.(string); slices.Contains(b.faults.Strangers, name) {
			return bugzillaRefuse(http.StatusBadRequest, 504, fmt.Sprintf("The name '%s' is not a valid username. Either you misspelled it, or the person has not registered for an account.", name))
		}
	}
	bug := b.add(BugzillaBug{
		Alias: text("alias"), Product: text("product"), Component: text("component"), Version: text("version"),
		Summary: text("summary"), Status: "CONFIRMED", Comments: []string{text("description")}, Fields: maps.Clone(body),
	})
	return bugzillaReply(http.StatusOK, map[string]any{"id": bug.ID})
}

func (b *Bugzilla) aliasProblem(alias string) string {
	_, err := strconv.Atoi(alias)
	switch {
	case alias == "":
		return ""
	case err == nil:
		return fmt.Sprintf("You tried to give this bug the alias %s, but an alias cannot be merely a number.", alias)
	case strings.ContainsAny(alias, ", "):
		return "Your alias contains one or more commas or spaces."
	case len(alias) > maxAlias:
		return fmt.Sprintf("Bug aliases cannot be longer than %d characters.", maxAlias)
	}
	for _, bug := range b.bugs {
		if strings.EqualFold(bug.Alias, alias) {
			return fmt.Sprintf("Bug %d has already taken the alias %s.", bug.ID, alias)
		}
	}
	return ""
}

// update knows a new status with its resolution, a comment and more bugs to block; all
// of it is checked before any of it is done.
func (b *Bugzilla) update(bug *BugzillaBug, body map[string]any) bugzillaAnswer {
	status, changes := body["status"].(string)
	if _, ok := openStatus[status]; changes && !ok {
		return bugzillaRefuse(http.StatusNotFound, 51, fmt.Sprintf("There is no status named '%s'.", status))
	}
	resolution, _ := body["resolution"].(string)
	switch closes := changes && !openStatus[status]; {
	case closes && resolution == "" && bug.Resolution == "":
		return bugzillaRefuse(http.StatusBadRequest, 121, "A valid resolution is required to mark bugs as "+status+".")
	case resolution != "" && !slices.Contains(resolutions, resolution):
		return bugzillaRefuse(http.StatusNotFound, 51, fmt.Sprintf("There is no resolution named '%s'.", resolution))
	case resolution != "" && !closes:
		return bugzillaRefuse(http.StatusBadRequest, 122, "You cannot set a resolution for open bugs.")
	}
	said, _ := body["comment"].(map[string]any)
	if text, _ := said["body"].(string); len(text) > maxComment {
		return bugzillaRefuse(http.StatusBadRequest, 114, "Comments cannot be longer than 65535 characters.")
	}
	blocks, _ := body["blocks"].(map[string]any)
	more, _ := blocks["add"].([]any)
	var ids []int
	for _, v := range more {
		id, ok := v.(float64)
		if !ok || id < 1 || int(id) > len(b.bugs) {
			return bugzillaRefuse(http.StatusNotFound, 101, fmt.Sprintf("Bug #%v does not exist.", v))
		}
		if int(id) == bug.ID {
			return bugzillaRefuse(http.StatusBadRequest, 116, "You can't make a bug block itself or depend on itself.")
		}
		ids = append(ids, int(id))
	}
	if changes {
		bug.Status, bug.Resolution = status, resolution
	}
	if text, _ := said["body"].(string); strings.TrimSpace(text) != "" {
		bug.Comments = append(bug.Comments, strings.TrimSpace(text))
	}
	for _, id := range ids {
		if !slices.Contains(bug.Blocks, id) {
			bug.Blocks = append(bug.Blocks, id)
		}
	}
	return bugzillaReply(http.StatusOK, map[string]any{"bugs": []any{map[string]any{"id": bug.ID, "changes": map[string]any{}}}})
}

// resolutions are those that Bugzilla comes with.
var resolutions = []string{"FIXED", "INVALID", "WONTFIX", "DUPLICATE", "WORKSFORME"}

func bugComments(bug *BugzillaBug) bugzillaAnswer {
	list := []any{}
	for i, text := range bug.Comments {
		list = append(list, map[string]any{"id": bug.ID*1000 + i, "bug_id": bug.ID, "count": i, "text": text})
	}
	return bugzillaReply(http.StatusOK, map[string]any{
		"bugs": map[string]any{strconv.Itoa(bug.ID): map[string]any{"comments": list}}, "comments": map[string]any{},
	})
}

func addBugComment(bug *BugzillaBug, body map[string]any) bugzillaAnswer {
	text, _ := body["comment"].(string)
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return bugzillaRefuse(http.StatusBadRequest, 50, "The function add_comment requires a comment argument, and that argument was not set.")
	case len(text) > maxComment:
		return bugzillaRefuse(http.StatusBadRequest, 114, "Comments cannot be longer than 65535 characters.")
	}
	bug.Comments = append(bug.Comments, text)
	return bugzillaReply(http.StatusCreated, map[string]any{"id": bug.ID*1000 + len(bug.Comments) - 1})
}
