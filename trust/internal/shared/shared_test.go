package shared

import "testing"

func TestBegins(t *testing.T) {
	for _, tc := range []struct {
		text string
		want int
	}{
		{"", 0},
		{"text", 0},
		{"-----BEGIN A-----", 1},
		{"text\n-----BEGIN A-----\n-----BEGIN B-----", 2},
		{"text -----BEGIN A-----", 0},
		{"-----BEGIN", 0},
		{"-----END A-----\n", 0},
	} {
		if got := Begins([]byte(tc.text)); got != tc.want {
			t.Errorf("%q: %d, want %d", tc.text, got, tc.want)
		}
	}
}

func TestShorten(t *testing.T) {
	for _, tc := range []struct{ s, want string }{
		{"short", "short"},
		{"12345678", "12345678"},
		{"123456789", "1234567…"},
		{"äöüäöüäöü", "äöüäöüä…"},
		{"a\nb\x00c\x7fd\xff", "a?b?c?d?"},
	} {
		if got := Shorten(tc.s, 8); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.s, got, tc.want)
		}
	}
}

func TestVersion(t *testing.T) {
	for s, want := range map[string]uint64{"": 0, "7": 7, "18446744073709551615": 18446744073709551615, "18446744073709551616": 0, "a": 0, "-1": 0} {
		if got := Version(s); got != want {
			t.Errorf("%q: %d, want %d", s, got, want)
		}
	}
}
