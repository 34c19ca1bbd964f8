package dashboard

// fewer leaves out the last third of rows, and says whether it did: one row stays.
func fewer[T any](rows []T) ([]T, bool) {
	if len(rows) < 2 {
		return rows, false
	}
	return rows[:len(rows)*2/3], true
}

// moreAfter is fewer for a list whose next page begins after a row. next makes the page's address from its last row.
func moreAfter[T any](rows *[]T, more *string, next func(T) string) bool {
	left, ok := fewer(*rows)
	if ok {
		*rows, *more = left, next(left[len(left)-1])
	}
	return ok
}

// shorter cuts texts so that the longest of them has half of what it had, and says whether it did: what is short stays.
func shorter(texts ...*string) bool {
	const least = 80
	longest := least
	for _, t := range texts {
		longest = max(longest, len(*t))
	}
	if longest == least {
		return false
	}
	for _, t := range texts {
		if n := longest / 2; len(*t) > n {
			*t = shorten(*t, min(n, len([]rune(*t))-1))
		}
	}
	return true
}
