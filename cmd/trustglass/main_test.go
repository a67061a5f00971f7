package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The image has no time zones. Where a test runs there are some, so that nothing but the list of what is linked tells.
func TestTimeZonesAreBuiltIn(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Fields(string(out)), "time/tzdata") {
		t.Error("time/tzdata is not linked: the time zone of a renewal window would not be found")
	}
}
