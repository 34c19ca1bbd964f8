package keystore

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// The prefixes of ids.
const (
	prefixOrganization = "org_"
	prefixAccount      = "acct_"
	prefixSandbox      = "sbx_"
	prefixKey          = "key_"
	prefixEvent        = "evt_"
	prefixImport       = "imp_"
	prefixAdminToken   = "adm_"
	prefixWebhook      = "we_"
	prefixMember       = "mem_"
	prefixSession      = "ses_"
)

// An id is its prefix, the microsecond of its making, and random characters. Ids of one store never repeat and sort by
// creation, so that the order by id is the order of lists too: no second one is needed for them.
const (
	idTimeLen   = 9 // 62^9 microseconds last until the year 2398
	idRandomLen = 11
	idBodyLen   = idTimeLen + idRandomLen
)

// idMaker makes ids. It belongs to the writer.
type idMaker struct {
	rand io.Reader
	last uint64 // microseconds in the newest id; the next one is above, whatever the clock says
}

func (m *idMaker) next(prefix string, now time.Time) (string, error) {
	at := max(uint64(now.UnixMicro()), m.last+1)
	var buf [32]byte
	n := copy(buf[:], prefix)
	body := buf[n : n+idBodyLen]
	rest := at
	for i := idTimeLen - 1; i >= 0; i-- {
		body[i] = base62[rest%62]
		rest /= 62
	}
	// 11 characters are 65.5 bits; 128 random bits folded into them leave no bias worth the name.
	var r [16]byte
	if _, err := io.ReadFull(m.rand, r[:]); err != nil {
		return "", fmt.Errorf("making an id: %w", err)
	}
	hi, lo := binary.BigEndian.Uint64(r[:8]), binary.BigEndian.Uint64(r[8:])
	for i := idTimeLen; i < idBodyLen; i++ {
		src := &hi
		if i%2 == 0 {
			src = &lo
		}
		body[i] = base62[*src%62]
		*src /= 62
	}
	m.last = at
	return string(buf[:n+idBodyLen]), nil
}

// seen notes an id that exists already, so that later ones sort after it.
func (m *idMaker) seen(id string) {
	_, body, ok := cutIDPrefix(id)
	if !ok || len(body) != idBodyLen {
		return
	}
	var at uint64
	for i := range idTimeLen {
		d := strings.IndexByte(base62, body[i])
		if d < 0 {
			return
		}
		at = at*62 + uint64(d)
	}
	m.last = max(m.last, at)
}

// cutIDPrefix takes an id apart: "key_" and what follows.
func cutIDPrefix(id string) (prefix, body string, ok bool) {
	for _, p := range [...]string{prefixKey, prefixAccount, prefixOrganization, prefixSandbox, prefixEvent, prefixAdminToken, prefixImport, prefixWebhook, prefixMember, prefixSession} {
		if body, ok = strings.CutPrefix(id, p); ok {
			return p, body, body != ""
		}
	}
	return "", "", false
}

func isBase62(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
