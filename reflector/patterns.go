package reflector

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/dlclark/regexp2"
)

const (
	maxPattern  = 256 // bytes
	maxPatterns = 64

	// matchTimeout bounds one match of a backtracking pattern, matchBudget all matches that one list ever makes: results are
	// remembered, so that an honest list stays far below it for any number of namespaces.
	matchTimeout = 10 * time.Millisecond
	matchBudget  = time.Second
	maxKnown     = 20_000
)

// fineClock makes the library look at the time more often than its default of every 100 ms, which is a setting of the whole
// process. Its clock is a goroutine that ends by itself when no pattern has been matched for a second or so.
var fineClock = sync.OnceFunc(func() { regexp2.SetTimeoutCheckPeriod(matchTimeout / 5) })

var errTooSlow = errors.New("takes too long to match; write it without nested repetition")

// patterns is a list of regular expressions of which one has to match a whole namespace name. Safe for concurrent use.
type patterns struct {
	linear       []*regexp.Regexp  // RE2
	backtracking []*regexp2.Regexp // what RE2 can't express: lookaheads, back references

	mu    sync.Mutex // guards what follows: results of backtracking, and the time they took
	known map[string]bool
	spent time.Duration
}

// parsePatterns reads a comma separated list; blank is nil. A list without items (",") is not nil: it matches nothing.
func parsePatterns(value string) (*patterns, error) {
	if strings.TrimSpace(value) == "" {
		return nil, nil
	}
	if len(value) > maxPatterns*(maxPattern+2) {
		return nil, fmt.Errorf("the list is longer than %d bytes; shorten it or use a selector", maxPatterns*(maxPattern+2))
	}
	items := splitList(value)
	if len(items) > maxPatterns {
		return nil, fmt.Errorf("%d patterns, at most %d are followed; join some or use a selector", len(items), maxPatterns)
	}
	p := &patterns{known: map[string]bool{}}
	for _, item := range items {
		if err := p.add(item); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *patterns) add(item string) error {
	if len(item) > maxPattern {
		return fmt.Errorf("pattern %s is longer than %d bytes; split it at a |, or use a selector", quote(item), maxPattern)
	}
	if re, err := regexp.Compile(item); err == nil {
		p.linear = append(p.linear, re)
		return nil
	}
	re, err := compileBacktracking(item)
	if err != nil {
		return fmt.Errorf("pattern %s is not a regular expression (%w); for \"anything\" write .*, and note that a comma ends a pattern", quote(item), err)
	}
	p.backtracking = append(p.backtracking, re)
	return nil
}

// match tells whether one pattern's first match, leftmost alternatives first, spans the whole name. That is how Reflector
// compares, and not the same as anchoring: "a|ab" never matches "ab".
func (p *patterns) match(name string) (bool, error) {
	for _, re := range p.linear {
		if loc := re.FindStringIndex(name); loc != nil && loc[0] == 0 && loc[1] == len(name) {
			return true, nil
		}
	}
	if len(p.backtracking) == 0 {
		return false, nil
	}
	return p.backtrack(name)
}

func (p *patterns) backtrack(name string) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if matched, ok := p.known[name]; ok {
		return matched, nil
	}
	if len(p.known) >= maxKnown {
		clear(p.known)
	}
	for _, re := range p.backtracking {
		if p.spent > matchBudget {
			return false, fmt.Errorf("pattern %s %w", quote(re.String()), errTooSlow)
		}
		matched, err := p.attempt(re, name)
		if err != nil {
			return false, fmt.Errorf("pattern %s %w", quote(re.String()), errTooSlow)
		}
		if matched {
			p.known[name] = true
			return true, nil
		}
	}
	p.known[name] = false
	return false, nil
}

// attempt matches, up to three times: the timeout is wall time, and on a busy machine an honest match of microseconds may
// lose the processor in its middle.
func (p *patterns) attempt(re *regexp2.Regexp, name string) (matched bool, err error) {
	start := time.Now() // time spent on a user's pattern, not a time that anything is decided by
	for range 3 {
		if matched, err = matchBacktracking(re, name); err == nil {
			break
		}
	}
	p.spent += time.Since(start)
	return matched, err
}

// compileBacktracking and matchBacktracking turn a panic of the library into an error: its input is a stranger's, and its
// caller the informer's goroutine.
func compileBacktracking(item string) (re *regexp2.Regexp, err error) {
	defer recoverAs(&err)
	fineClock()
	re, err = regexp2.Compile(item, regexp2.None)
	if err == nil {
		re.MatchTimeout = matchTimeout
	}
	return re, err
}

func matchBacktracking(re *regexp2.Regexp, name string) (matched bool, err error) {
	defer recoverAs(&err)
	m, err := re.FindStringMatch(name)
	if err != nil || m == nil {
		return false, err
	}
	return m.Index == 0 && m.Length == len([]rune(name)), nil
}

func recoverAs(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("evaluating it failed: %v", p)
	}
}
