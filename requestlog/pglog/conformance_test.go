package pglog

import (
	"testing"

	"github.com/keystile/keystile/keystore/pgstore/pgtest"
	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/requestlogtest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	requestlogtest.Run(t, func(t *testing.T) requestlog.Store {
		return open(t, options(t, pgtest.Shared(t).Database(t)))
	})
}
