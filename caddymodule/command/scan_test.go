package command

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keystile/keystile/policy"
)

// newToken makes a token that no store knows.
func newToken(t *testing.T, kind policy.Kind, mode policy.Mode) string {
	t.Helper()
	token, err := policy.GenerateToken(rand.Reader, kind, mode)
	if err != nil {
		t.Fatal(err)
	}
	return token.Reveal()
}

func writeFile(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFindTokens: wherever a token stands in a stream of any length, at chunk borders above all, it is found once, with its
// line.
func TestFindTokens(t *testing.T) {
	t.Parallel()
	token := newToken(t, policy.KindOrganization, policy.ModeLive)
	for _, at := range []int{
		0, 1, scanOverlap, scanChunk - 1, scanChunk - len(token), scanChunk - len(token)/2, scanChunk, scanChunk + 1,
		scanChunk + scanOverlap - len(token), scanChunk + scanOverlap - 1, scanChunk + scanOverlap, 2*scanChunk + scanOverlap - 7, 3 * scanChunk,
	} {
		before := bytes.Repeat([]byte("x\n"), at/2+1)[:at]
		data := append(append(bytes.Clone(before), token...), "\nend"...)
		var got []string
		if err := findTokensIn(bytes.NewReader(data), func(line int, found string) {
			got = append(got, fmt.Sprintf("%d %v", line, found == token))
		}); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("%d true", bytes.Count(before, []byte("\n"))+1)
		if len(got) != 1 || got[0] != want {
			t.Errorf("token at %d: found %v, want [%s]", at, got, want)
		}
	}
}

func TestFindTokensInOrder(t *testing.T) {
	t.Parallel()
	live, test := newToken(t, policy.KindSecret, policy.ModeLive), newToken(t, policy.KindRestricted, policy.ModeSandbox)
	wrong := live[:len(live)-1] + "!"
	flipped := []byte(live)
	flipped[20] ^= 1
	text := strings.Join([]string{
		"a=" + live + test, "KEY_live_sk_live_", "_test_", wrong, string(flipped), "sk_live_" + live, "x" + test + "tail", live[:30],
	}, "\n")
	var got []string
	if err := findTokensIn(strings.NewReader(text), func(line int, found string) {
		got = append(got, fmt.Sprint(line, " ", found))
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{"1 " + live, "1 " + test, "6 " + live, "7 " + test}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("found %d tokens %v, want those of lines 1, 1, 6, 7", len(got), len(want))
	}
}

// BenchmarkFindTokens reads a chunk that is full of one infix, the worst case for the search of the other.
func BenchmarkFindTokens(b *testing.B) {
	for name, line := range map[string]string{"infixes": "sk_test_nothing\n", "text": "the quick brown fox jumps\n"} {
		data := bytes.Repeat([]byte(line), 4<<20/len(line))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if err := findTokensIn(bytes.NewReader(data), func(int, string) {}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestScan(t *testing.T) {
	s := newServer(t)
	id, token := s.restricted(t, s.account(t))
	foreign := newToken(t, policy.KindSecret, policy.ModeLive)
	public := newToken(t, policy.KindPublishable, policy.ModeLive)
	dir := t.TempDir()
	writeFile(t, dir, "deep/er/.env", []byte("# keys\nAPI_KEY="+token+"\n"))
	writeFile(t, dir, "main.go", []byte("const key = \""+foreign+"\"\n"))
	writeFile(t, dir, "page.html", []byte(public))
	if err := os.Symlink(filepath.Join(dir, "main.go"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}

	r := s.try(t, "", "scan", dir)
	if r.code != 1 {
		t.Errorf("exit code %d, want 1", r.code)
	}
	contains(t, "standard output", r.stdout,
		filepath.Join(dir, "deep/er/.env")+":2: "+policy.Mask(token)+" restricted live "+id+"\n",
		filepath.Join(dir, "main.go")+":1: "+policy.Mask(foreign)+" secret live\n")
	lacks(t, "output", r.stdout+r.stderr, token, foreign, public, "page.html", "link")

	r = s.try(t, "", "scan", dir, "--json", "--publishable")
	if r.code != 1 {
		t.Errorf("with --json: exit code %d, want 1", r.code)
	}
	var answer struct {
		Data []finding `json:"data"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &answer); err != nil {
		t.Fatalf("%v\n%s", err, r.stdout)
	}
	if len(answer.Data) != 3 || len(answer.Data[0].Keys) != 1 || answer.Data[0].Keys[0] != id {
		t.Errorf("findings are %+v, want three, the first of key %s", answer.Data, id)
	}

	s.http.Close()
	r = s.try(t, "", "scan", dir)
	if r.code != 1 {
		t.Errorf("without a gateway: exit code %d, want 1", r.code)
	}
	contains(t, "standard output without a gateway", r.stdout, policy.Mask(token)+" restricted live\n")
	contains(t, "standard error without a gateway", r.stderr, "not named")
	if r = s.try(t, "", "scan", dir, "--offline"); r.stderr != "" {
		t.Errorf("--offline: standard error is %q, want nothing", r.stderr)
	}
}

func TestScanNothing(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "a.txt", []byte("nothing here"))
	r := execute(t, "", "scan", dir, "--address", "localhost:1")
	if r.code != 0 || r.stdout != "" {
		t.Errorf("exit code %d and output %q, want 0 and nothing", r.code, r.stdout)
	}
	if r = execute(t, "", "scan", filepath.Join(dir, "missing")); r.code != 1 {
		t.Errorf("a missing directory: exit code %d, want 1", r.code)
	}
	if r = execute(t, "", "scan", filepath.Join(dir, "a.txt")); r.code != 0 {
		t.Errorf("a single file: exit code %d, want 0", r.code)
	}
}
