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

	// A customer's callers together: whoever may make tokens has as many callers as they like.
	maxCustomerAnswers = 10_000
	maxCustomerBytes   = 32 << 20
)

// roomOf is a room that an answer takes, with its bounds.
type roomOf struct {
	name        string
	most, bytes int
}

// roomsOf are the rooms that the answer of a key takes: the caller's own, and the one of their customer if they have a limit.
func roomsOf(k *IdempotencyKey) []roomOf {
	own := roomOf{"caller " + k.Actor, maxCallerAnswers, maxCallerBytes}
	if k.Small {
		own.most, own.bytes = maxSmallCallerAnswers, maxSmallCallerBytes
	}
	if k.Customer == "" {
		return []roomOf{own}
	}
	return []roomOf{own, {"customer " + k.Customer, maxCustomerAnswers, maxCustomerBytes}}
}

// callerRooms counts the answers of each caller, and of each customer, in this process. A restart begins anew: the room for all still holds.
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

// enter takes a place for a claimed key in each of its rooms, and says whether there was one.
func (r *callerRooms) enter(k *IdempotencyKey, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rooms == nil || len(r.rooms) >= memoryIdempotencyEntries {
		r.tidyLocked(now)
	}
	taken := roomsOf(k)
	for _, of := range taken {
		if room := r.rooms[of.name]; room != nil {
			room.expire(now)
			if room.running+len(room.kept) >= of.most || room.bytes >= of.bytes {
				return false
			}
		}
	}
	for _, of := range taken {
		if r.rooms[of.name] == nil {
			r.rooms[of.name] = new(callerRoom)
		}
		r.rooms[of.name].running++
	}
	return true
}

// keep says that the answer of a key that has entered is kept until it expires.
func (r *callerRooms) keep(k *IdempotencyKey, expires time.Time, size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range roomsOf(k) {
		if room := r.rooms[of.name]; room != nil {
			room.running--
			room.bytes += size
			room.kept = append(room.kept, keptAnswer{expires, size})
		}
	}
}

// leave gives the places of a key that has entered back.
func (r *callerRooms) leave(k *IdempotencyKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range roomsOf(k) {
		if room := r.rooms[of.name]; room != nil {
			if room.running--; room.running == 0 && len(room.kept) == 0 {
				delete(r.rooms, of.name)
			}
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
