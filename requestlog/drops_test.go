package requestlog

import (
	"testing"
	"time"
)

// A gap record that was given up before it was stored is made anew, and still says when the loss began.
func TestGapRecordMadeAnewSaysWhenTheLossBegan(t *testing.T) {
	t.Parallel()
	at := func(seconds int) time.Time { return journalBegin.Add(time.Duration(seconds) * time.Second) }
	var d dropCount
	var gap Record
	d.add(1, at(0))
	d.fillGap(&gap, at(10)) // and never stored
	d.giveUp(5, at(20))
	d.fillGap(&gap, at(30))
	if gap.Lost != 6 || !gap.LostFrom.Equal(at(0)) || !gap.LostTo.Equal(at(20)) {
		t.Errorf("got %d lost from %v to %v, want 6 from %v to %v", gap.Lost, gap.LostFrom, gap.LostTo, at(0), at(20))
	}
	d.reportedGap(&gap)
	d.add(1, at(40))
	if d.fillGap(&gap, at(50)); gap.Lost != 1 || !gap.LostFrom.Equal(at(40)) {
		t.Errorf("the next: got %d lost from %v", gap.Lost, gap.LostFrom)
	}
}
