package requestlog

import "time"

// Position reads the position of an id or cursor; ok is false for anything that cannot be one. Records are ordered by
// position, and those of one position by the rest of their ids.
func Position(id string) (position uint64, ok bool) { return parseID(id) }

// PositionOf is the first position of a time's millisecond: an id made then has this position or one not far above.
func PositionOf(t time.Time) uint64 { return positionOf(t) }

// PositionTime is the time of a position.
func PositionTime(position uint64) time.Time { return time.UnixMilli(millisecondOf(position)).UTC() }

// CursorBefore is a cursor behind which every record at the position or below it follows, and none above it.
func CursorBefore(position uint64) string { return cursorBefore(position) }
