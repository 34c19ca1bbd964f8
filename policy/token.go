package policy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unsafe"
)

// A token of ours is prefix + 32 random base62 characters + 6 base62 characters of checksum: the CRC-32 (IEEE) over
// everything before it, the prefix included, so that a token of one kind or mode cannot be turned into another's by its
// prefix. The checksum is no secret: it lets typing errors and random guesses be refused without a look-up, and lets a
// scanner tell a leaked key from a lookalike.
const (
	randomLength   = 32 // 190.5 bits
	checksumLength = 6  // 62^6 > 2^32
	bodyLength     = randomLength + checksumLength

	// maxTokenLength bounds what is taken for a token of foreign spelling.
	maxTokenLength = 512

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// base62Value is the value of a base62 character, or 0xff.
var base62Value = func() (t [256]uint8) {
	for i := range t {
		t[i] = 0xff
	}
	for i := range len(base62) {
		t[base62[i]] = uint8(i)
	}
	return t
}()

// TokenClass is what a string looks like. It says nothing about whether such a key exists.
type TokenClass uint8

// The classes. The zero value is never a key.
const (
	// TokenInvalid is empty, longer than 512 bytes, or has a byte that is not visible ASCII.
	TokenInvalid TokenClass = iota
	// TokenOurs has a known prefix, a body of 38 base62 characters, and the right checksum.
	TokenOurs
	// TokenBadChecksum is as TokenOurs, but the checksum is wrong.
	TokenBadChecksum
	// TokenForeign is anything else: only an imported key can be spelled so.
	TokenForeign
)

// ParseToken says what s looks like, and the kind and mode that its prefix names (zero if it has no known prefix; for a
// foreign token they say nothing about the key it may belong to). It does not allocate.
func ParseToken(s string) (Kind, Mode, TokenClass) {
	n, kind, mode := splitPrefix(s)
	if n > 0 && len(s) == n+bodyLength && isBase62(s[n:]) {
		var sum uint64
		for _, c := range []byte(s[n+randomLength:]) {
			sum = sum*62 + uint64(base62Value[c])
		}
		if sum == uint64(checksum(s[:n+randomLength])) {
			return kind, mode, TokenOurs
		}
		return kind, mode, TokenBadChecksum
	}
	if len(s) == 0 || len(s) > maxTokenLength || !isVisible(s) {
		return kind, mode, TokenInvalid
	}
	return kind, mode, TokenForeign
}

// splitPrefix returns the length of the known prefix of s with its kind and mode, or zeros.
func splitPrefix(s string) (int, Kind, Mode) {
	if len(s) >= 12 {
		switch s[:12] {
		case "sk_org_live_":
			return 12, KindOrganization, ModeLive
		case "sk_org_test_":
			return 12, KindOrganization, ModeSandbox
		}
	}
	if len(s) >= 8 {
		switch s[:8] {
		case "sk_live_":
			return 8, KindSecret, ModeLive
		case "sk_test_":
			return 8, KindSecret, ModeSandbox
		case "pk_live_":
			return 8, KindPublishable, ModeLive
		case "pk_test_":
			return 8, KindPublishable, ModeSandbox
		case "rk_live_":
			return 8, KindRestricted, ModeLive
		case "rk_test_":
			return 8, KindRestricted, ModeSandbox
		}
	}
	return 0, 0, 0
}

// prefixOf is the inverse of splitPrefix: "" if there is no such key.
func prefixOf(k Kind, m Mode) string {
	var word string
	switch m {
	case ModeLive:
		word = "live_"
	case ModeSandbox:
		word = "test_"
	default:
		return ""
	}
	switch k {
	case KindSecret:
		return "sk_" + word
	case KindPublishable:
		return "pk_" + word
	case KindRestricted:
		return "rk_" + word
	case KindOrganization:
		return "sk_org_" + word
	}
	return ""
}

// GenerateToken makes a new token of the kind and mode from the randomness, which must be cryptographic.
func GenerateToken(rand io.Reader, k Kind, m Mode) (Token, error) {
	prefix := prefixOf(k, m)
	if prefix == "" {
		return Token{}, fmt.Errorf("generating a token: there are no keys of kind %d and mode %d", k, m)
	}
	b := make([]byte, 0, len(prefix)+bodyLength)
	b = append(b, prefix...)
	b, err := appendRandom(b, rand, randomLength)
	if err != nil {
		return Token{}, fmt.Errorf("generating a token: %w", err)
	}
	b = appendChecksum(b, checksum(string(b)))
	return TokenFrom(string(b)), nil
}

// appendRandom appends n uniform base62 characters. A byte of 248 and more is thrown away instead of being reduced: that
// would make the first eight characters of the alphabet likelier than the others.
func appendRandom(b []byte, rand io.Reader, n int) ([]byte, error) {
	const limit = 256 - 256%len(base62)
	var buf [48]byte
	// One round is nearly always enough. Eight that are not mean a broken source, which must not be drawn on for ever.
	for range 8 {
		if _, err := io.ReadFull(rand, buf[:]); err != nil {
			return nil, fmt.Errorf("reading randomness: %w", err)
		}
		for _, c := range buf {
			if int(c) >= limit {
				continue
			}
			b = append(b, base62[int(c)%len(base62)])
			if n--; n == 0 {
				return b, nil
			}
		}
	}
	return nil, errors.New("the source of randomness is broken: it yields hardly any usable bytes")
}

// appendChecksum appends the sum in base62, padded on the left with '0'.
func appendChecksum(b []byte, sum uint32) []byte {
	var out [checksumLength]byte
	for i := checksumLength - 1; i >= 0; i-- {
		out[i] = base62[sum%62]
		sum /= 62
	}
	return append(b, out[:]...)
}

func checksum(s string) uint32 { return crc32.ChecksumIEEE(bytesOf(s)) }

// bytesOf views the bytes of s without copying them: hashing a token must not leave a copy of it on the heap. Callers only
// read, and do not keep the slice.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

func isBase62(s string) bool {
	for i := range len(s) {
		if base62Value[s[i]] == 0xff {
			return false
		}
	}
	return true
}

// isVisible says whether s is made of visible ASCII characters only: no space, no control character.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Mask is s as it may be shown: the known prefix, "****", and the last four characters if what follows the prefix has at
// least twelve (fewer would be too large a part of it). A string without a known prefix is shown as "****", since it may
// be anybody's password. The result is always visible ASCII.
func Mask(s string) string {
	const stars = "****"
	n, _, _ := splitPrefix(s)
	if n == 0 {
		return stars
	}
	if last := s[max(n, len(s)-4):]; len(s)-n >= 12 && isVisible(last) {
		return s[:n] + stars + last
	}
	return s[:n] + stars
}

// Digest is the SHA-256 of a token: how a key is stored and looked up.
type Digest [sha256.Size]byte

// DigestOf hashes a token. It does not allocate.
func DigestOf(s string) Digest { return sha256.Sum256(bytesOf(s)) }

// IsZero says whether no digest is set.
func (d Digest) IsZero() bool { return d == Digest{} }
