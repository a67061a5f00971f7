package reflector

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// maxSelector bounds a selector annotation, in bytes.
const maxSelector = 4096

// Scope is a set of namespaces: those whose name matches the patterns and those whose labels match the selector. With neither
// it holds all; with only one of them, only that one counts (emberstack Reflector's behaviour).
type Scope struct {
	names    *patterns
	selector labels.Selector
}

// contains tells whether a namespace belongs to the scope. An error means that a pattern could not be evaluated.
func (s Scope) contains(namespace string, l map[string]string) (bool, error) {
	if s.names == nil && s.selector == nil {
		return true, nil
	}
	if s.selector != nil && s.selector.Matches(labels.Set(l)) {
		return true, nil
	}
	if s.names == nil {
		return false, nil
	}
	return s.names.match(namespace)
}

// parseSelector reads a Kubernetes label selector; blank is nil. It is stricter than the library in what Reflector refuses
// too: an empty set of values, and comparisons.
func parseSelector(value string) (labels.Selector, error) {
	value = strings.TrimSpace(value)
	if value == "" {
		return nil, nil
	}
	if len(value) > maxSelector {
		return nil, fmt.Errorf("the selector is longer than %d bytes; shorten it", maxSelector)
	}
	sel, err := labels.Parse(value)
	if err != nil {
		return nil, fmt.Errorf("%s is not a label selector (%w); write for instance env=prod,team in (a,b)", quote(value), err)
	}
	reqs, selectable := sel.Requirements()
	if !selectable || len(reqs) == 0 {
		return nil, fmt.Errorf("%s selects nothing; write for instance env=prod", quote(value))
	}
	for _, req := range reqs {
		if err := checkRequirement(req); err != nil {
			return nil, fmt.Errorf("%s: %w", quote(value), err)
		}
	}
	return sel, nil
}

func checkRequirement(req labels.Requirement) error {
	switch req.Operator() {
	case selection.GreaterThan, selection.LessThan:
		return errors.New("< and > are not supported; use =, !=, in or notin")
	case selection.In, selection.NotIn:
		if values := req.ValuesUnsorted(); len(values) == 1 && values[0] == "" {
			return errors.New("the set of values is empty; name at least one")
		}
	}
	return nil
}

// globs are ExcludedNamespaces: whole-name patterns in which * is any run of characters and ? any one, everything else
// being literal; case does not count (emberstack Reflector's behaviour).
type globs []string

func parseGlobs(list []string) globs {
	var g globs
	for _, item := range list {
		for _, glob := range splitList(item) {
			g = append(g, strings.ToLower(glob))
		}
	}
	return g
}

func (g globs) match(name string) bool {
	name = strings.ToLower(name)
	for _, glob := range g {
		if globMatch(glob, name) {
			return true
		}
	}
	return false
}

// globMatch walks both strings once, going back to the last * when a character does not fit: linear for one *, at worst the
// product of the lengths.
func globMatch(glob, name string) bool {
	g, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, mark = g, n
			g++
		case g < len(glob) && (glob[g] == '?' || glob[g] == name[n]):
			g++
			n++
		case star >= 0:
			mark++
			g, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(glob[g:], "*") == ""
}
