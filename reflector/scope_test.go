package reflector

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPatterns(t *testing.T) {
	for _, tc := range []struct {
		reason, list  string
		matches, not  []string
		everything    bool
		invalid, slow bool
	}{
		{reason: "blank is every namespace", list: " ", everything: true},
		{reason: "a list without items is none", list: ",", not: []string{"a", ""}},
		{reason: "a name", list: "app1", matches: []string{"app1"}, not: []string{"app11", "xapp1", "App1"}},
		{reason: "anchors add nothing", list: "^allowed-.*$, ^also-.* ,plain-.*", matches: []string{"allowed-1", "also-", "plain-x"}, not: []string{"not-allowed-1", "also"}},
		{reason: "blank items are dropped", list: "a,, ,b", matches: []string{"a", "b"}, not: []string{""}},
		{reason: "the leftmost alternative that matches is the match", list: "a|ab", matches: []string{"a"}, not: []string{"ab", "b"}},
		{reason: "the longer one first", list: "ab|a", matches: []string{"a", "ab"}},
		{reason: "an anchor on one side of an alternative is no hole", list: "^a|b$", matches: []string{"a", "b"}, not: []string{"a-evil", "x-b"}},
		{reason: "a lazy tail matches as little as it can", list: "a.*?", matches: []string{"a"}, not: []string{"ab"}},
		{reason: "the first match counts, not the longest", list: "b|ab", matches: []string{"ab", "b"}},
		{reason: "a star is no glob", list: "ns-*", matches: []string{"ns", "ns-", "ns--"}, not: []string{"ns-1"}},
		{reason: "a lone star is nothing to repeat", list: "*", invalid: true},
		{reason: "one bad pattern is enough", list: "good,(", invalid: true},
		{reason: "a comma cuts a repetition in two", list: "a{1,3}", matches: []string{"a{1", "3}"}, not: []string{"a", "aa"}},
		{reason: "lookahead excludes", list: "^(?!(?:default|kube-system)$).*", matches: []string{"app", "default-2"}, not: []string{"default", "kube-system"}},
		{reason: "lookahead has to span too", list: "(?=app)a", matches: nil, not: []string{"app", "a"}},
		{reason: "lookahead and alternation keep their order", list: "(?!x)(?:a|ab)", matches: []string{"a"}, not: []string{"ab"}},
		{reason: "back references", list: `([a-z]+)-\1`, matches: []string{"a-a", "ab-ab"}, not: []string{"a-b"}},
		{reason: "atomic groups", list: `(?>a+)b`, matches: []string{"aab"}, not: []string{"aa"}},
		{reason: "a pattern that is too long", list: strings.Repeat("a", maxPattern+1), invalid: true},
		{reason: "the longest", list: strings.Repeat("a", maxPattern), not: []string{"a"}},
		{reason: "too many", list: strings.Repeat("a,", maxPatterns+1), invalid: true},
		{reason: "the most", list: strings.Repeat("a,", maxPatterns), matches: []string{"a"}},
		{reason: "a list that is too long to split", list: strings.Repeat(" ", 100_000) + "a", invalid: true},
		{reason: "catastrophic", list: `(?!x)(a|aa)+(?!.*)`, slow: true},
	} {
		p, err := parsePatterns(tc.list)
		if (err != nil) != tc.invalid {
			t.Errorf("%s: err = %v", tc.reason, err)
		}
		if err != nil {
			continue
		}
		if (p == nil) != tc.everything {
			t.Errorf("%s: nil = %t", tc.reason, p == nil)
		}
		if p == nil {
			continue
		}
		for _, name := range tc.matches {
			if ok, err := p.match(name); !ok || err != nil {
				t.Errorf("%s: match(%q) = %t, %v", tc.reason, name, ok, err)
			}
		}
		for _, name := range tc.not {
			if ok, err := p.match(name); ok || err != nil {
				t.Errorf("%s: match(%q) = %t, %v", tc.reason, name, ok, err)
			}
		}
		if _, err := p.match(strings.Repeat("a", 63)); (err != nil) != tc.slow {
			t.Errorf("%s: err = %v", tc.reason, err)
		}
	}
}

func TestPatternsSpendNoMoreThanTheirBudget(t *testing.T) {
	p, err := parsePatterns(strings.Repeat(`(?!x)(a|aa)+(?!.*),`, maxPatterns))
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for i := range 2000 {
		_, _ = p.match(strings.Repeat("a", 30+i%30))
	}
	if took := time.Since(begin); took > 10*matchBudget {
		t.Errorf("took %v", took)
	}
}

// The names of the rows are those of emberstack Reflector's tests.
func TestSelectors(t *testing.T) {
	env := map[string]string{"env": "prod", "team": "a", "example.com/tier": "1"}
	for _, tc := range []struct {
		name, selector string
		invalid, match bool
	}{
		{name: "EmptySelector_MatchesAll", selector: "", match: true},
		{name: "whitespace only is unset", selector: " \t ", match: true},
		{name: "EqualitySelector_Matches", selector: "env=prod", match: true},
		{name: "EqualitySelector_DoesNotMatch", selector: "env=dev"},
		{name: "DoubleEqualitySelector_Matches", selector: "env==prod", match: true},
		{name: "InequalitySelector_Matches", selector: "env!=dev", match: true},
		{name: "InequalitySelector_DoesNotMatch", selector: "env!=prod"},
		{name: "InequalitySelector_MissingLabel_Matches", selector: "none!=prod", match: true},
		{name: "ExistsSelector_Matches", selector: "env", match: true},
		{name: "ExistsSelector_DoesNotMatch", selector: "none"},
		{name: "NotExistsSelector_Matches", selector: "!none", match: true},
		{name: "NotExistsSelector_DoesNotMatch", selector: "!env"},
		{name: "MultipleSelectors_AllMustMatch", selector: "env=prod,team=a", match: true},
		{name: "MultipleSelectors_OneFails", selector: "env=prod,team=b"},
		{name: "InSelector_Matches", selector: "env in (dev, prod),team", match: true},
		{name: "InSelector_DoesNotMatch", selector: "env in (dev)"},
		{name: "NotInSelector_Matches", selector: "env notin (dev)", match: true},
		{name: "NotInSelector_DoesNotMatch", selector: "env notin (dev,prod)"},
		{name: "NotInSelector_MissingLabel_Matches", selector: "none notin (dev)", match: true},
		{name: "ValidSelector_PrefixedLabelKey_Matches", selector: "example.com/tier=1", match: true},
		{name: "InvalidSelector_CommasOnly_FailsClosed", selector: ",", invalid: true},
		{name: "InvalidSelector_CommasOnly_FailsClosed", selector: ",,", invalid: true},
		{name: "InvalidSelector_CommasOnly_FailsClosed", selector: " , ,", invalid: true},
		{name: "InvalidSelector_EmptyKey_FailsClosed", selector: "!", invalid: true},
		{name: "InvalidSelector_EmptyKey_FailsClosed", selector: "!=value", invalid: true},
		{name: "InvalidSelector_EmptyKey_FailsClosed", selector: "=value", invalid: true},
		{name: "InvalidSelector_MalformedExpression_FailsClosed", selector: "env in (prod", invalid: true},
		{name: "InvalidSelector_MalformedExpression_FailsClosed", selector: "env in prod)", invalid: true},
		{name: "InvalidSelector_MalformedExpression_FailsClosed", selector: "env in ()", invalid: true},
		{name: "InvalidSelector_MalformedExpression_FailsClosed", selector: "env notin ( )", invalid: true},
		{name: "InvalidSelector_MalformedExpression_FailsClosed", selector: "()", invalid: true},
		{name: "InvalidSelector_MalformedExpression_FailsClosed", selector: "=", invalid: true},
		{name: "InvalidSelector_InvalidLabelKey_FailsClosed", selector: "-env=", invalid: true},
		{name: "InvalidSelector_InvalidLabelKey_FailsClosed", selector: "env-=", invalid: true},
		{name: "InvalidSelector_InvalidLabelKey_FailsClosed", selector: ".env=", invalid: true},
		{name: "InvalidSelector_InvalidLabelKey_FailsClosed", selector: "env name=", invalid: true},
		{name: "InvalidSelector_LabelKeyTooLong_FailsClosed", selector: strings.Repeat("k", 64), invalid: true},
		{name: "comparisons are not part of the grammar", selector: "env>1", invalid: true},
		{name: "too long", selector: "env in (" + strings.Repeat("a,", maxSelector) + "b)", invalid: true},
	} {
		sel, err := parseSelector(tc.selector)
		if (err != nil) != tc.invalid {
			t.Errorf("%s: parseSelector(%q): %v", tc.name, tc.selector, err)
		}
		if err != nil {
			continue
		}
		if got, _ := (Scope{selector: sel}).contains("ns", env); got != tc.match {
			t.Errorf("%s: %q matches: %t", tc.name, tc.selector, got)
		}
	}
}

func TestScopeJoinsNamesAndSelector(t *testing.T) {
	names, _ := parsePatterns("ns-1")
	nothing, _ := parsePatterns(",")
	sel, _ := parseSelector("env=prod")
	prod := map[string]string{"env": "prod"}
	for _, tc := range []struct {
		reason    string
		scope     Scope
		namespace string
		labels    map[string]string
		want      bool
	}{
		{"no list and no selector is everything", Scope{}, "x", nil, true},
		{"MirroringProperties_OrLogic_NameMatchWins", Scope{names, sel}, "ns-1", nil, true},
		{"MirroringProperties_OrLogic_LabelMatchWins", Scope{names, sel}, "x", prod, true},
		{"neither", Scope{names, sel}, "x", nil, false},
		{"MirroringProperties_AllowedNamespacesSelector_MatchesByLabel", Scope{nil, sel}, "x", prod, true},
		{"an absent list beside a selector is not everything", Scope{nil, sel}, "x", nil, false},
		{"an empty list beside a selector adds nothing", Scope{nothing, sel}, "x", prod, true},
		{"an empty list is nothing", Scope{nothing, nil}, "x", prod, false},
	} {
		if got, err := tc.scope.contains(tc.namespace, tc.labels); got != tc.want || err != nil {
			t.Errorf("%s: %t, %v", tc.reason, got, err)
		}
	}
}

func TestGlobs(t *testing.T) {
	if diff := cmp.Diff(globs{"a", "b-*", "c"}, parseGlobs([]string{" A ,b-*,, ", "C"})); diff != "" {
		t.Errorf("parseGlobs (-want +got):\n%s", diff)
	}
	for _, tc := range []struct {
		glob, name string
		want       bool
	}{
		{"kube-system", "kube-system", true},
		{"kube-system", "kube-system-2", false},
		{"KUBE-*", "kube-system", true},
		{"*-system", "kube-system", true},
		{"*", "anything", true},
		{"**", "", true},
		{"a*b*c", "a-b-b-c", true},
		{"a*b*c", "a-b-b", false},
		{"ns-?", "ns-1", true},
		{"ns-?", "ns-12", false},
		{"ns-??", "ns-12", true},
		{"a.b", "a.b", true},
		{"a.b", "axb", false},
		{"[ab]", "a", false},
		{"[ab]", "[ab]", true},
		{"", "a", false},
	} {
		if got := globMatch(strings.ToLower(tc.glob), tc.name); got != tc.want {
			t.Errorf("%q matches %q: %t", tc.glob, tc.name, got)
		}
	}
	if (globs)(nil).match("a") {
		t.Error("no globs match something")
	}
}
