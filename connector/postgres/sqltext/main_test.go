package sqltext_test

import (
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
