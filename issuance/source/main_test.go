package source

import (
	"testing"

	"github.com/trustglass/trustglass/e2e/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
