// Package shared has what bundles and injected CAs both need: how PEM is counted, messages are cut and versions compared.
package shared

import (
	"bytes"
	"strconv"
	"strings"
)

const beginMark = "-----BEGIN "

// Begins counts the PEM blocks that a text begins, by the rule of encoding/pem: only the start of a line counts.
func Begins(text []byte) int {
	n := bytes.Count(text, []byte("\n"+beginMark))
	if bytes.HasPrefix(text, []byte(beginMark)) {
		n++
	}
	return n
}

// Shorten cuts s to n runes and replaces what does not print.
func Shorten(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return '?'
		}
		return r
	}, s)
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// Version reads a resourceVersion, which the API promises to be comparable as an integer; 0 if it is none.
func Version(s string) uint64 {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return v
}
