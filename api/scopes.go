package api

import (
	"slices"
	"strings"
)

// taskHole is the placeholder of REQUIRED_TASKCLUSTER_SCOPE_SETS.
const taskHole = "{task_name}"

// missingScopes says what a client lacks for a task, or "" when it holds one
// whole set. It names what is missing of every set, any of which would do. An
// empty set opens nothing.
func missingScopes(sets [][]string, task string, held []string) string {
	var lacks []string
	for _, set := range sets {
		missing := make([]string, 0, len(set))
		for _, template := range set {
			if scope := strings.ReplaceAll(template, taskHole, task); !satisfied(held, scope) {
				missing = append(missing, scope)
			}
		}
		if len(missing) == 0 && len(set) > 0 {
			return ""
		}
		if len(missing) > 0 {
			lacks = append(lacks, strings.Join(missing, " and "))
		}
	}
	if len(lacks) == 0 {
		return "a scope, and none is configured that would do"
	}
	return "the scope " + strings.Join(lacks, ", or ")
}

// satisfied is Taskcluster's rule: a held scope that ends in "*" stands for all
// that begin with the rest of it; a "*" elsewhere is a letter like any other.
func satisfied(held []string, required string) bool {
	return slices.ContainsFunc(held, func(h string) bool {
		prefix, pattern := strings.CutSuffix(h, "*")
		return h == required || pattern && strings.HasPrefix(required, prefix)
	})
}
