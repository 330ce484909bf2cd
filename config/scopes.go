package config

import (
	"slices"
	"strings"
)

// MissingScopes says what somebody who holds these scopes lacks for a task, or ""
// when they hold one whole set. It names what is missing of every set, any of
// which would do. An empty set opens nothing.
func MissingScopes(sets [][]string, task string, held []string) string {
	var lacks []string
	for _, set := range sets {
		missing := make([]string, 0, len(set))
		for _, template := range set {
			if scope := ScopeOf(template, task); !satisfied(held, scope) {
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

// ScopeOf fills a scope's template in.
func ScopeOf(template, task string) string { return strings.ReplaceAll(template, taskHole, task) }

// satisfied is Taskcluster's rule: a held scope that ends in "*" stands for all
// that begin with the rest of it; a "*" elsewhere is a letter like any other.
func satisfied(held []string, required string) bool {
	return slices.ContainsFunc(held, func(h string) bool {
		prefix, pattern := strings.CutSuffix(h, "*")
		return h == required || pattern && strings.HasPrefix(required, prefix)
	})
}
