package policy

import (
	"fmt"
	"io"
)

// An admin token is a machine's credential for the admin API. It is spelled like a key (see token.go), with a prefix of
// its own: adm_ + 32 random base62 characters + 6 of checksum. Its id begins with the same four letters and is 20
// characters shorter, so that neither can be taken for the other. It is no key: ParseToken knows no such prefix.
const adminTokenPrefix = "adm_"

// GenerateAdminToken makes a new admin token from the randomness, which must be cryptographic.
func GenerateAdminToken(rand io.Reader) (Token, error) {
	b := make([]byte, 0, len(adminTokenPrefix)+bodyLength)
	b, err := appendRandom(append(b, adminTokenPrefix...), rand, randomLength)
	if err != nil {
		return Token{}, fmt.Errorf("generating an admin token: %w", err)
	}
	return TokenFrom(string(appendChecksum(b, checksum(string(b))))), nil
}

// IsAdminToken says whether s is spelled as an admin token, with the right checksum. It says nothing about whether there
// is one. It does not allocate.
func IsAdminToken(s string) bool {
	const n = len(adminTokenPrefix)
	if len(s) != n+bodyLength || s[:n] != adminTokenPrefix || !isBase62(s[n:]) {
		return false
	}
	var sum uint64
	for _, c := range []byte(s[n+randomLength:]) {
		sum = sum*62 + uint64(base62Value[c])
	}
	return sum == uint64(checksum(s[:n+randomLength]))
}

// MaskAdminToken is an admin token as it may be shown: adm_****abcd. Anything else is shown as "****".
func MaskAdminToken(s string) string {
	if !IsAdminToken(s) {
		return "****"
	}
	return adminTokenPrefix + "****" + s[len(s)-4:]
}
