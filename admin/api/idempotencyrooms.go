package api

import (
	"sync"
	"time"
)

// How many answers one caller may have kept at a time, and how many bytes of them. The room for all is larger: nobody fills
// it alone, least of all who may do little.
const (
	maxCallerAnswers      = 20_000
	maxCallerBytes        = 64 << 20
	maxSmallCallerAnswers = 5_000 // of who has a limit, or is less than an administrator
	maxSmallCallerBytes   = 16 << 20
)

// callerRooms counts the answers of each caller in this process. A restart begins anew: the room for all still holds.
type callerRooms struct {
	mu    sync.Mutex
	rooms map[string]*callerRoom // none is empty
}

type callerRoom struct {
	running, bytes int
	kept           []keptAnswer // in the order in which they expire
}

type keptAnswer struct {
	expires time.Time
	size    int
}

// enter takes a place for a claimed key, and says whether there was one.
func (r *callerRooms) enter(k *IdempotencyKey, now time.Time) bool {
	most, bytes := maxCallerAnswers, maxCallerBytes
	if k.Small {
		most, bytes = maxSmallCallerAnswers, maxSmallCallerBytes
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	room := r.rooms[k.Actor]
	if room == nil {
		if r.rooms == nil || len(r.rooms) >= memoryIdempotencyEntries {
			r.tidyLocked(now)
		}
		room = new(callerRoom)
		r.rooms[k.Actor] = room
	}
	room.expire(now)
	if room.running+len(room.kept) >= most || room.bytes >= bytes {
		return false
	}
	room.running++
	return true
}

// keep says that the answer of a key that has entered is kept until it expires.
func (r *callerRooms) keep(k *IdempotencyKey, expires time.Time, size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if room := r.rooms[k.Actor]; room != nil {
		room.running--
		room.bytes += size
		room.kept = append(room.kept, keptAnswer{expires, size})
	}
}

// leave gives the place of a key that has entered back.
func (r *callerRooms) leave(k *IdempotencyKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if room := r.rooms[k.Actor]; room != nil {
		if room.running--; room.running == 0 && len(room.kept) == 0 {
			delete(r.rooms, k.Actor)
		}
	}
}

// tidyLocked forgets the rooms that have emptied.
func (r *callerRooms) tidyLocked(now time.Time) {
	if r.rooms == nil {
		r.rooms = make(map[string]*callerRoom)
	}
	for actor, room := range r.rooms {
		if room.expire(now); room.running == 0 && len(room.kept) == 0 {
			delete(r.rooms, actor)
		}
	}
}

func (r *callerRoom) expire(now time.Time) {
	over := 0
	for over < len(r.kept) && !now.Before(r.kept[over].expires) {
		r.bytes -= r.kept[over].size
		over++
	}
	r.kept = r.kept[over:]
}
