package postgres

import (
	"net"
	"time"
)

// unansweredTime is how long a server's machine may leave unanswered what was sent to it: then the connection is dead, whoever waits
// on it and with whatever patience. A server that is slow answers all the same, as its machine does that for it. It is longer than
// a batch waits for a lock while the server reads no more of it.
const unansweredTime = 15 * time.Second

// dialer makes connections that notice that the network or the machine behind it has vanished without a word: after a time if
// something was sent, in the middle of a COPY also, and after as long if they wait for an answer or for nothing at all. Without it the
// kernel would go on sending for a quarter of an hour.
func dialer(unanswered time.Duration) *net.Dialer {
	third := max(unanswered/3, time.Second)
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: third, Interval: third, Count: 3},
		Control:         boundUnanswered(unanswered),
	}
}
