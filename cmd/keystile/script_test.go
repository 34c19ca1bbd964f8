package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestScript runs the scripts of testdata/script against the real binary. Each has a gateway of its own, if it asks for one.
//
// Beside testscript's own commands they have:
//
//	gateway              starts a gateway; CADDY_ADMIN names its admin endpoint, SITE a site behind which everything answers,
//	                     ADMIN_SITE one with keystile_admin
//	keystile ARGS…       runs the binary and wants exit code 0, with ! exit code 1
//	misuse ARGS…         runs the binary and wants exit code 2, a usage hint, and nothing on standard output
//	field NAME PATH      sets NAME to the value at PATH (as data.0.id) of the JSON on standard output
//	request CODE METHOD PATH [TOKEN]
//	                     makes a request at SITE and wants the status CODE
//	follow TEXT METHOD PATH TOKEN -- ARGS…
//	                     runs `keystile log tail ARGS…`, makes the request until TEXT appears, interrupts it, and wants 0
//	secret NAME          wants the token in NAME to be in neither output of the command before
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "script"),
		RequireUniqueNames: true,
		Setup:              setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"gateway":  startGateway,
			"keystile": runKeystile,
			"misuse":   runMisuse,
			"field":    setField,
			"request":  makeRequest,
			"follow":   followLog,
			"secret":   checkSecret,
		},
	})
}

// scriptTB is the key of the testing.TB of a script.
type scriptTB struct{}

func setupScript(env *testscript.Env) error {
	tb, ok := env.T().(testing.TB)
	if !ok {
		return errors.New("testscript gives no testing.TB")
	}
	env.Values[scriptTB{}] = tb
	bin := filepath.Join(env.WorkDir, ".bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return err
	}
	if err := os.Symlink(gatetest.Binary(tb), filepath.Join(bin, "keystile")); err != nil {
		return err
	}
	env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("HOME", env.WorkDir)
	// A port on which nobody listens, until `gateway` says otherwise.
	env.Setenv("CADDY_ADMIN", gatetest.FreeAddr(tb))
	return nil
}

func tbOf(ts *testscript.TestScript) testing.TB { return ts.Value(scriptTB{}).(testing.TB) }

const scriptCatalog = `catalog {
	resource charges {
		read GET /v1/charges /v1/charges/*
		write POST /v1/charges /v1/charges/*
		publishable POST /v1/tokens
	}
	resource customers {
		read GET /v1/customers /v1/customers/*
	}
}
`

func startGateway(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: gateway")
	}
	tb := tbOf(ts)
	site := gatetest.FreeAddr(tb)
	adminSite := gatetest.FreeAddr(tb)
	_, port, _ := strings.Cut(site, ":")
	g := gatetest.Launch(tb, gatetest.Config{
		Keystile: scriptCatalog,
		Sites: "http://:" + port + " {\n\tbind 127.0.0.1\n\tkeystile {\n\t\tmode any\n\t\topen /healthz\n\t}\n\trespond \"hello\" 200\n}\n" +
			"http://" + adminSite + " {\n\tbind 127.0.0.1\n\tkeystile_admin\n}",
	})
	ts.Setenv("CADDY_ADMIN", g.AdminAddr)
	ts.Setenv("SITE", site)
	ts.Setenv("ADMIN_SITE", adminSite)
	ts.Setenv("CONFIG", g.ConfigPath())
}

// execute runs the binary and returns its exit code. Its output is that of the script's command.
func execute(ts *testscript.TestScript, args []string) int {
	err := ts.Exec("keystile", args...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	ts.Check(err)
	return 0
}

func runKeystile(ts *testscript.TestScript, neg bool, args []string) {
	want := 0
	if neg {
		want = 1
	}
	if code := execute(ts, args); code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

func runMisuse(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: misuse ARGS…")
	}
	if code := execute(ts, args); code != 2 {
		ts.Fatalf("exit code %d, want 2", code)
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("standard output has %q, want nothing", out)
	}
	if note := ts.ReadFile("stderr"); !strings.Contains(note, "usage: keystile ") {
		ts.Fatalf("standard error has no usage hint")
	}
}

func setField(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: field NAME PATH")
	}
	var value any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &value))
	for name := range strings.SplitSeq(args[1], ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(v) {
				ts.Fatalf("%s: no element %s of %d", args[1], name, len(v))
			}
			value = v[i]
		default:
			ts.Fatalf("%s: nothing below %s", args[1], name)
		}
	}
	if value == nil {
		ts.Fatalf("%s is null or missing", args[1])
	}
	ts.Setenv(args[0], fmt.Sprint(value))
}

// roundTrip makes one request at the script's site.
func roundTrip(ts *testscript.TestScript, method, path, token string) (status int, body []byte, err error) {
	req, err := http.NewRequest(method, "http://"+ts.Getenv("SITE")+path, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

func makeRequest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: request CODE METHOD PATH [TOKEN]")
	}
	status, body, err := roundTrip(ts, args[1], args[2], strings.Join(args[3:], ""))
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s", body)
	if strconv.Itoa(status) != args[0] {
		ts.Fatalf("status %d, want %s: %s", status, args[0], body)
	}
}

// lines collects the output of a process.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func followLog(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 5 || args[4] != "--" {
		ts.Fatalf("usage: follow TEXT METHOD PATH TOKEN -- ARGS…")
	}
	text, err := regexp.Compile(args[0])
	ts.Check(err)
	var stdout, stderr lines
	cmd := exec.Command("keystile", append([]string{"log", "tail"}, args[5:]...)...)
	cmd.Path = filepath.Join(ts.Getenv("WORK"), ".bin", "keystile")
	cmd.Err = nil
	cmd.Env = append(os.Environ(), "CADDY_ADMIN="+ts.Getenv("CADDY_ADMIN"), "HOME="+ts.Getenv("WORK"))
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	deadline := time.Now().Add(time.Minute)
	for !text.MatchString(stdout.String()) {
		select {
		case err := <-ended:
			ts.Fatalf("log tail ended early: %v\n%s", err, stderr.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			<-ended
			ts.Fatalf("log tail never printed %q:\n%s%s", args[0], stdout.String(), stderr.String())
		}
		_, _, err := roundTrip(ts, args[1], args[2], args[3])
		ts.Check(err)
	}
	ts.Check(cmd.Process.Signal(syscall.SIGINT))
	if err := <-ended; err != nil {
		ts.Fatalf("log tail ended with %v after an interrupt\n%s", err, stderr.String())
	}
	fmt.Fprint(ts.Stdout(), stdout.String())
	fmt.Fprint(ts.Stderr(), stderr.String())
}

func checkSecret(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || len(ts.Getenv(args[0])) < 8 {
		ts.Fatalf("usage: secret NAME, where NAME holds a token")
	}
	token := ts.Getenv(args[0])
	// The body alone would give it away, too.
	if body := token[strings.LastIndexByte(token, '_')+1:]; strings.Contains(ts.ReadFile("stdout")+ts.ReadFile("stderr"), body) {
		ts.Fatalf("the token in %s was printed", args[0])
	}
}
