package caddymodule

import (
	"context"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

func init() {
	caddy.OnExit(waitForHolders)
}

// lingerTime is how long a replaced config's app goes on. Caddy does not wait for the old servers of a reload, and
// net/http gives a new connection five seconds to send its first request.
const lingerTime = 6 * time.Second

// lingering are the apps of replaced configs that may still be asked.
var lingering = struct {
	sync.Mutex
	apps map[*App]*time.Timer
}{apps: make(map[*App]*time.Timer)}

// linger closes the app after a while.
func linger(a *App) {
	lingering.Lock()
	defer lingering.Unlock()
	lingering.apps[a] = time.AfterFunc(lingerTime, func() {
		lingering.Lock()
		_, ours := lingering.apps[a]
		delete(lingering.apps, a)
		lingering.Unlock()
		if ours {
			logClosing(a.close())
		}
	})
}

// endLingering closes all lingering apps at once.
func endLingering() {
	lingering.Lock()
	apps := lingering.apps
	lingering.apps = make(map[*App]*time.Timer)
	lingering.Unlock()
	for a, timer := range apps {
		timer.Stop()
		logClosing(a.close())
	}
}

func logClosing(err error) {
	if err != nil {
		processLogger("keystile").Error("closing what no config uses any more", zap.Error(err))
	}
}

// lastHoldersGrace is how long a process that exits waits for connections that have left HTTP to end and leave their
// record.
const lastHoldersGrace = 2 * time.Second

// waitForHolders is called when the process exits, after all apps have been cleaned up. Upgraded connections were closed a
// moment ago by the proxy, in goroutines of their own; whoever is the last closes the log. If one hangs, what is queued is
// stored nevertheless.
func waitForHolders(ctx context.Context) {
	endLingering()
	ctx, cancel := context.WithTimeout(ctx, lastHoldersGrace)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var logs []*sharedLog
		held := false
		pool.Range(func(_, value any) bool {
			held = true
			if l, ok := value.(*sharedLog); ok {
				logs = append(logs, l)
			}
			return true
		})
		if !held {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			for _, l := range logs {
				logClosing(l.Destruct())
			}
			return
		}
	}
}
