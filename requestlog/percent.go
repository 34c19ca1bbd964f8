package requestlog

// percentDecode undoes %XX where it is well-formed, again and again until nothing is left to undo, however deep it was
// encoded: "%25255f" becomes "_". The order does not matter to the result, since two escapes never overlap; from the end to
// the beginning one pass is enough, because what follows an escape is decoded already when the escape is met. The work
// and the memory are linear in the text, so that no depth needs a bound that somebody could go beyond.
//
// One escape is left as it is: the one that would swallow the beginning of "adm_", as the second byte of %2adm_ or %adm_.
//
// The result stands in buf if it has the capacity for s.
func percentDecode(buf []byte, s string) []byte {
	if cap(buf) < len(s) {
		buf = make([]byte, len(s))
	}
	buf = buf[:len(s)]
	at := len(buf) // buf[at:] is decoded
	for i := len(s) - 1; i >= 0; i-- {
		at--
		buf[at] = s[i]
		for buf[at] == '%' && len(buf)-at >= 3 {
			hi, lo := hexDigit(buf[at+1]), hexDigit(buf[at+2])
			if hi < 0 || lo < 0 || swallowsAdmin(buf[at+1:]) {
				break
			}
			at += 2
			buf[at] = byte(hi<<4 | lo)
		}
	}
	return buf[at:]
}

// swallowsAdmin says whether the two digits that b begins with hold the beginning of adm_, whose letters are digits too.
func swallowsAdmin(b []byte) bool { return isAdmin(b) || isAdmin(b[1:]) }

func isAdmin(b []byte) bool {
	return len(b) >= 4 && b[3] == '_' && b[0]|0x20 == 'a' && b[1]|0x20 == 'd' && b[2]|0x20 == 'm'
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
