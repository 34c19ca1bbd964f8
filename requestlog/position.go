package requestlog

import "time"

// Position reads the position of an id or cursor; ok is false for anything that cannot be one. Records are ordered by
// position, and those of one position by the rest of their ids.
func Position(id string) (position uint64, ok bool) { return parseID(id) }

// Positions are the first and the last position of a time's millisecond: ids made in it lie between.
func Positions(t time.Time) (first, last uint64) {
	first = positionOf(t)
	return first, first | (1<<sequenceBits - 1)
}

// PositionTime is the time of a position.
func PositionTime(position uint64) time.Time { return time.UnixMilli(millisecondOf(position)).UTC() }

// CursorBefore is a cursor behind which every record at the position or below it follows, and none above it.
func CursorBefore(position uint64) string { return cursorBefore(position) }
