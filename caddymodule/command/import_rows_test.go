package command

import (
	"strings"
	"testing"
)

func TestParseImport(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		want     []string // "line object"
	}{
		{"empty", "", nil},
		{"json lines", "{\"token\":\"a\"}\n\n  {\"token\":\"b\"}\r\n", []string{`1 {"token":"a"}`, `3 {"token":"b"}`}},
		{"byte order mark", "\xef\xbb\xbf{\"token\":\"a\"}", []string{`1 {"token":"a"}`}},
		{
			"csv", "token,kind,permissions,ip_ranges,allowed_origins,metadata\n" +
				"t1,restricted,charges=write customers=read,1.2.3.4 5.6.7.8,https://a https://b,team=x;env=y\n" +
				"t2,secret,,,,\n" +
				"\"t\n3\",restricted,none,,,\n" +
				"t4,restricted,\"{\"\"charges\"\":\"\"read\"\"}\",,,\n",
			[]string{
				`2 {"allowed_origins":["https://a","https://b"],"ip_ranges":"1.2.3.4 5.6.7.8","kind":"restricted",` +
					`"metadata":{"env":"y","team":"x"},"permissions":{"charges":"write","customers":"read"},"token":"t1"}`,
				`3 {"kind":"secret","token":"t2"}`,
				`4 {"kind":"restricted","permissions":{},"token":"t\n3"}`,
				`6 {"kind":"restricted","permissions":{"charges":"read"},"token":"t4"}`,
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rows, err := parseImport([]byte(test.in), "")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, row := range rows {
				got = append(got, strings.Join([]string{string(rune('0' + row.line)), string(row.object)}, " "))
			}
			if strings.Join(got, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

// TestParseImportErrors: mistakes are named by line and column, and never by content, which may be a token.
func TestParseImportErrors(t *testing.T) {
	t.Parallel()
	const secret = "hunter2hunter2"
	tests := []struct{ name, in, want string }{
		{"json of one line is broken", "{\"token\":\"a\"}\n{\"token\":\"" + secret + "\n", "line 2 is no JSON object"},
		{"array", "{\"token\":\"a\"}\n[\"" + secret + "\"]", "line 2 is no JSON object"},
		{"csv without head", "sk_live_" + secret + ",secret\n", "line 1, column 1 is no name"},
		{"csv without head, foreign token", secret + ",secret\n", "names no column token"},
		{"csv without head, spelled with signs", secret + "-+,secret\n", "column 1 is no name"},
		{"column twice", "token,token\n" + secret + ",b\n", "stands twice"},
		{"missing cell", "token,kind\n" + secret + "\n", "line 2 has another number"},
		{"open quote", "token,kind\n\"" + secret + ",b\n", "line 2"},
		{"permissions", "token,permissions\na," + secret + "\n", "line 2, column permissions"},
		{"metadata", "token,metadata\na," + secret + "\n", "line 2, column metadata"},
		{"metadata twice", "token,metadata\na,x=" + secret + " x=1\n", "line 2, column metadata"},
		{"permissions JSON", "token,permissions\na,{" + secret + "\n", "line 2, column permissions"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := parseImport([]byte(test.in), "")
			if err == nil {
				t.Fatal("no error")
			}
			contains(t, "the error", err.Error(), test.want)
			lacks(t, "the error", err.Error(), secret)
		})
	}
}

func FuzzParseImport(f *testing.F) {
	f.Add("{\"token\":\"a\"}\n")
	f.Add("token,permissions,metadata\na,b=read,c=d\n")
	f.Add("token\n\"\n")
	f.Fuzz(func(t *testing.T, in string) {
		rows, err := parseImport([]byte(in), "")
		if err != nil {
			return
		}
		lines := strings.Count(in, "\n") + 1
		last := 0
		for _, row := range rows {
			if row.line <= last || row.line > lines {
				t.Errorf("row at line %d after line %d of %d", row.line, last, lines)
			}
			last = row.line
		}
	})
}
