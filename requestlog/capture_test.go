package requestlog

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// captured stores one record with the capture and answers it as it is read back.
func captured(t *testing.T, l *Log, c *Capture, in, out int) *Record {
	t.Helper()
	c.End(int64(in), int64(out), true, true)
	r := storeCapture(t, l, c)
	if used := l.Stats().Captured; used != 0 {
		t.Errorf("%d captured bytes are still counted after the record is stored", used)
	}
	return r
}

func storeCapture(t *testing.T, l *Log, c *Capture) *Record {
	t.Helper()
	r := l.NewRecord()
	r.ID = NewID(time.Now())
	r.Capture = c
	id := r.ID
	if !l.Append(r) {
		t.Fatal("the record was refused")
	}
	if err := l.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	got, err := l.Get(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func captureBody(t *testing.T, l *Log, media, body string) string {
	t.Helper()
	c := l.NewCapture(NewCaptureRules(nil, []string{"internal_note"}))
	c.RequestBody(media, "", int64(len(body)), 4096)
	c.ReadRequest([]byte(body))
	return captured(t, l, c, len(body), 0).RequestBody
}

func TestCapturedBodies(t *testing.T) {
	t.Parallel()
	l := openLog(t, Options{Dir: t.TempDir()})
	defer l.Close()
	token := "sk_live_" + body32
	const (
		jsonType = "application/json"
		form     = "application/x-www-form-urlencoded"
	)
	for _, tt := range []struct{ name, media, body, want string }{
		{"plain", jsonType, `{"amount": 100, "live":true, "x":null, "tags":["a","b"], "n":{"m":1.50e3}}`, `{"amount":100,"live":true,"x":null,"tags":["a","b"],"n":{"m":1.50e3}}`},
		{"charset", `application/json; charset="UTF-8"`, `{"a":1}`, `{"a":1}`},
		{"suffix", "application/problem+json", `{"title":"no"}`, `{"title":"no"}`},
		{"field", jsonType, `{"password":"hunter2","a":1}`, `{"password":"***","a":1}`},
		{"spellings", jsonType, `{"Pass-Word":"x1","client_secret":"x2","userPassword":"x3","api.key":"x4","p\u0061ssword":"x5","pass\u200bword":"x6"}`,
			`{"Pass-Word":"***","client_secret":"***","userPassword":"***","api.key":"***","password":"***","pass` + "\u200b" + `word":"***"}`},
		{"own field", jsonType, `{"internalNote":"x"}`, `{"internalNote":"***"}`},
		{"object", jsonType, `{"secret":{"a":[1,{"b":"x"}]},"c":2}`, `{"secret":"***","c":2}`},
		{"array", jsonType, `{"tokens":["x","y"],"c":2}`, `{"tokens":"***","c":2}`},
		{"null stays", jsonType, `{"secret":null}`, `{"secret":null}`},
		{"twice", jsonType, `{"password":"a","password":"b"}`, `{"password":"***","password":"***"}`},
		{"card", jsonType, `{"card":{"number":"4242 4242 4242 4242","cvc":"123","exp_year":2030},"number":"7"}`, `{"card":{"number":"***","cvc":"***","exp_year":2030},"number":"7"}`},
		{"cards", jsonType, `{"cards":[{"number":4}],"number":4242424242424242}`, `{"cards":[{"number":"***"}],"number":"***"}`},
		{"pairs", jsonType, `[{"name":"Cookie","value":"x"},{"name":"Accept","value":"y"}]`, `[{"name":"Cookie","value":"***"},{"name":"Accept","value":"y"}]`},
		{"token in a text", jsonType, `{"note":"use ` + token + ` now"}`, `{"note":"use sk_live_****YZ12 now"}`},
		{"token escaped", jsonType, `{"note":"\u0073k_live\u005f` + body32 + `"}`, `{"note":"sk_live_****YZ12"}`},
		{"token as a name", jsonType, `{"` + token + `":1}`, `{"sk_live_****YZ12":1}`},
		{"JSON in a text", jsonType, `{"payload":"{\"password\":\"x\",\"a\":[1]}"}`, `{"payload":"{\"password\":\"***\",\"a\":[1]}"}`},
		{"broken JSON in a text", jsonType, `{"payload":"{\"password\":\"x"}`, `{"payload":"***"}`},
		{"a brace in a text", jsonType, `{"t":"{name} or [x]","u":"[1] see","v":"[INFO] x"}`, `{"t":"{name} or [x]","u":"[1] see","v":"[INFO] x"}`},
		{"numbers first", jsonType, `{"t":"[1,{\"password\":{\"a\":\"x\"}}]"}`, `{"t":"[1,{\"password\":\"***\"}]"}`},
		{"deep", jsonType, `{"t":"[\"[\\\"[\\\\\\\"[1]\\\\\\\"]\\\"]\"]"}`, `{"t":"[\"[\\\"[\\\\\\\"***\\\\\\\"]\\\"]\"]"}`},
		{"control characters", jsonType, `{"t":"a\u001b[2J\nb\u202ec"}`, `{"t":"a\u001b[2J\nb\u202ec"}`},
		{"a form in a text", jsonType, `{"body":"a=1&password=hunter2&b=2"}`, `{"body":"a=1&password=***&b=2"}`},
		{"an address in a text", jsonType, `{"url":"https://x/cb?state=1&access_token=abc#id_token=x"}`, `{"url":"https://x/cb?state=1&access_token=***"}`},
		{"a header in a text", jsonType, `{"line":"Authorization: Bearer abc.def, Accept: x"}`, `{"line":"Authorization: ***, Accept: x"}`},
		{"a name alone", jsonType, `{"msg":"wrong password: ","t":"12:30 a=b"}`, `{"msg":"wrong password: ","t":"12:30 a=b"}`},
		{"a value alone", jsonType, `"` + token + `"`, `"sk_live_****YZ12"`},
		{"no JSON", jsonType, `password=hunter2`, "[not kept: 16 bytes that are not the application/json that they are declared to be]"},
		{"JSON and more", jsonType, `{"a":1} password=x`, "[not kept: 18 bytes that are not the application/json that they are declared to be]"},
		{"two values", jsonType, `{"a":1}{"b":2}`, "[not kept: 14 bytes that are not the application/json that they are declared to be]"},
		{"open end", jsonType, `{"a":1`, "[not kept: 6 bytes that are not the application/json that they are declared to be]"},
		{"lines", "application/x-ndjson", "{\"a\":1}\n{\"password\":\"x\"}\n", "{\"a\":1}\\x0a{\"password\":\"***\"}"},
		{"empty", jsonType, "", ""},
		{"form", form, "amount=100&password=hunter2&user%5Bpassword%5D=x&card[number]=4242&a=b%20c&expand[]=d", "amount=100&password=***&user%5Bpassword%5D=***&card[number]=***&a=b%20c&expand[]=d"},
		{"token in a form", form, "a=x%20" + strings.ReplaceAll(token, "_", "%5f") + "&b=" + token, "a=x+sk_live_****YZ12&b=sk_live_****YZ12"},
		{"JSON as a form", form, `{"a":"b=c","password":"hunter2"}`, "***"},
		{"JSON in a form", form, `data={"password":"hunter2"}&x=1`, "data=%7B%22password%22%3A%22***%22%7D&x=1"},
		{"a bare value", form, "mytok-81fe02c77ab1", "***"},
		{"text", "text/plain", "hello " + token, "hello sk_live_****YZ12"},
		{"settings as text", "text/plain", "user = a\npassword = hunter2\nclient-secret: 'x y'\n", `user = a\x0apassword = ***\x0aclient-secret: '***'\x0a`},
		{"JSON as text", "text/plain", `{"password":"x"}`, `{"password":"***"}`},
		{"form as text", "text/plain", `password=x&a=1`, `password=***&a=1`},
		{"array as text", "text/plain", `[1,{"password":{"a":"x"}}]`, `[1,{"password":"***"}]`},
		{"brackets in a text", "text/plain", `[1] see {x}`, `[1] see {x}`},
		{"image", "image/png", "\x89PNG", "[not kept: 4 bytes of image/png]"},
		{"multipart", "multipart/form-data; boundary=x", "--x", "[not kept: 3 bytes of multipart/form-data; boundary=x]"},
		{"events", "text/event-stream", "data: x", "[not kept: 7 bytes of text/event-stream]"},
		{"another charset", "application/json; charset=utf-16", `{"a":1}`, "[not kept: 7 bytes of application/json; charset=utf-16]"},
		{"no type", "", "abc", "[not kept: 3 bytes of no declared type]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := captureBody(t, l, tt.media, tt.body)
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestCaptureCut: a body that is cut anywhere is redacted as far as it goes, and never shows the half of what is not kept.
func TestCaptureCut(t *testing.T) {
	t.Parallel()
	l := openLog(t, Options{Dir: t.TempDir()})
	defer l.Close()
	for media, body := range map[string]string{
		"application/json":                  `{"a":"first","password":"hunter2hunter2","card":{"number":"4242424242424242","x":[1,2]},"secret":{"b":"hunter2"},"p":"{\"pwd\":\"hunter2\"}","z":"last"}`,
		"application/x-www-form-urlencoded": `a=first&password=hunter2hunter2&card[number]=4242424242424242&p={"pwd":"hunter2"}&z=last`,
		"text/plain":                        `{"password":"hunter2hunter2"}`,
	} {
		for limit := 1; limit <= len(body); limit++ {
			c := l.NewCapture(NewCaptureRules(nil, nil))
			c.ResponseBody(media, "", -1, limit)
			for _, piece := range []string{body[:len(body)/3], body[len(body)/3:]} {
				c.WroteResponse([]byte(piece))
			}
			got := captured(t, l, c, 0, len(body)).ResponseBody
			if strings.Contains(got, "hunter") || strings.Contains(got, "4242") {
				t.Fatalf("%s cut at %d shows what is not kept: %s", media, limit, got)
			}
			if len(got) > limit+len(cutMark) && !strings.HasPrefix(got, "[not kept") {
				t.Fatalf("%s cut at %d: got %d bytes", media, limit, len(got))
			}
			if media != "text/plain" && limit > 40 && limit < len(body)-3 && (!strings.Contains(got, "first") || !strings.HasSuffix(got, "…")) {
				t.Fatalf("%s cut at %d: got %s, want its beginning and a mark", media, limit, got)
			}
		}
	}
}

func TestCapturedCodings(t *testing.T) {
	t.Parallel()
	l := openLog(t, Options{Dir: t.TempDir()})
	defer l.Close()
	body := `{"password":"hunter2","a":"` + strings.Repeat("x", 500) + `"}`
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	fmt.Fprint(w, body)
	w.Close()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb := strings.Repeat(" ", 10<<20)
	for _, tt := range []struct {
		coding string
		text   []byte
		want   string
	}{
		{"gzip", zipped.Bytes(), `{"password":"***","a":"xxx`},
		{"zstd", encoder.EncodeAll([]byte(body), nil), `{"password":"***","a":"xxx`},
		{"zstd", encoder.EncodeAll([]byte(bomb), nil), "…"},
		{"gzip", []byte("no gzip at all"), "[not kept: 14 bytes in the coding gzip]"},
		{"br", []byte("???"), "[not kept: 3 bytes in the coding br]"},
		{"gzip, br", []byte("???"), "[not kept: 3 bytes in the coding gzip, br]"},
	} {
		c := l.NewCapture(NewCaptureRules(nil, nil))
		c.ResponseBody("application/json", tt.coding, -1, 4096)
		c.WroteResponse(tt.text)
		if got := captured(t, l, c, 0, len(tt.text)).ResponseBody; !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.coding, got, tt.want)
		}
	}
}

func TestCapturedHeaders(t *testing.T) {
	t.Parallel()
	l := openLog(t, Options{Dir: t.TempDir()})
	defer l.Close()
	token := "sk_live_" + body32
	header := map[string][]string{
		"Authorization": {"Bearer " + token}, "Cookie": {"a=b"}, "X-Api-Key": {"mytok-1"}, "Proxy-Authorization": {"x"}, "Set-Cookie": {"s=1"},
		"X-Internal": {"inside"}, "X_internal": {"alias"}, "Accept": {"a/b", "c/d"}, "X-Note": {"see " + token + " and imported-token-1"},
		"X-Odd": {"Bearer imported-token-2"}, "Referer": {"https://u:p@x/?password=hunter2"}, token: {"1"}, "X-Evil": {"a\x1b[2J"},
	}
	c := l.NewCapture(NewCaptureRules([]string{"X-Internal"}, nil))
	c.Presented("imported-token-1")
	c.RequestHeaders(header, nil)
	c.ResponseHeaders(header, []string{"Accept", "Set-Cookie", "Missing"})
	if text := fmt.Sprintf("%v %+v %#v", c, Record{Capture: c}, c); strings.Contains(text, body32) {
		t.Errorf("a capture can be printed: %s", text)
	}
	if text, err := json.Marshal(&Record{ID: NewID(time.Now()), Capture: c}); err != nil || strings.Contains(string(text), body32) {
		t.Errorf("a capture is marshalled with its record: %s, %v", text, err)
	}
	r := captured(t, l, c, 0, 0)
	var got map[string]string
	if err := json.Unmarshal([]byte(r.RequestHeaders), &got); err != nil {
		t.Fatalf("%s: %v", r.RequestHeaders, err)
	}
	want := map[string]string{
		"Authorization": "***", "Cookie": "***", "X-Api-Key": "***", "Proxy-Authorization": "***", "Set-Cookie": "***", "X-Internal": "***",
		"X_internal": "***", "Accept": "a/b, c/d", "X-Note": "see sk_live_****YZ12 and ***", "X-Odd": "***", "Referer": "https://***@x/?password=***",
		"sk_live_****YZ12": "1", "X-Evil": "a\x1b[2J",
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s: got %q, want %q", name, got[name], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
	if r.ResponseHeaders != `{"Accept":"a/b, c/d","Set-Cookie":"***"}` {
		t.Errorf("got %s", r.ResponseHeaders)
	}

	// The credential is not shown where it is cut, and one that cannot be a key is not held.
	c = l.NewCapture(NewCaptureRules(nil, nil))
	c.Presented("imported-token-1")
	c.ResponseBody("text/plain", "", -1, 20)
	c.WroteResponse([]byte("hello imported-token-1"))
	if got := captured(t, l, c, 0, 22).ResponseBody; got != "hello …" {
		t.Errorf("got %q", got)
	}
	c = l.NewCapture(NewCaptureRules(nil, nil))
	c.Presented(strings.Repeat("x", 1<<20))
	if c.secret != "" {
		t.Errorf("a credential of %d bytes is held", len(c.secret))
	}

	c = l.NewCapture(NewCaptureRules(nil, nil))
	many := make(map[string][]string)
	for i := range 100 {
		many[fmt.Sprintf("X-%03d", i)] = []string{strings.Repeat("v", 1000)}
	}
	c.RequestHeaders(many, nil)
	got = nil
	if err := json.Unmarshal([]byte(captured(t, l, c, 0, 0).RequestHeaders), &got); err != nil || len(got) > 18 || !strings.HasSuffix(got["…"], " more") {
		t.Errorf("got %d headers of 100 kB, %q, %v", len(got), got["…"], err)
	}
}

// TestCaptureBudget: what is captured and not yet stored is bounded. What finds no room is marked, the record is stored.
func TestCaptureBudget(t *testing.T) {
	t.Parallel()
	store := &fakeStore{}
	l := openLog(t, Options{Store: store, CaptureBudget: 10 << 10})
	fill := func() *Capture {
		c := l.NewCapture(NewCaptureRules(nil, nil))
		c.RequestHeaders(map[string][]string{"Accept": {"x"}}, nil)
		c.RequestBody("text/plain", "", -1, 4<<10)
		for range 8 {
			c.ReadRequest(bytes.Repeat([]byte("abcdefg "), 64))
		}
		c.End(4<<10, 0, true, true)
		return c
	}
	first, second, third := fill(), fill(), fill()
	if s := l.Stats(); s.Captured > 10<<10 || s.Captured < 8<<10 || s.CapturesDropped != 1 || s.CaptureDropped == 0 {
		t.Errorf("got %d bytes on their way, %d captures and %d bytes dropped", s.Captured, s.CapturesDropped, s.CaptureDropped)
	}
	if got := storeCapture(t, l, third); got.RequestBody != noteNoRoom || got.RequestHeaders != noteNoRoom {
		t.Errorf("got %q and %q, want the note", got.RequestHeaders, got.RequestBody)
	}
	first.Discard()
	if got := storeCapture(t, l, second); len(got.RequestBody) != 4<<10 {
		t.Errorf("got %d bytes", len(got.RequestBody))
	}
	var together sync.WaitGroup
	for range 50 {
		together.Go(func() {
			for range 20 {
				r := l.NewRecord()
				r.Capture = fill()
				l.Append(r)
			}
		})
	}
	together.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.Captured != 0 || s.Appended != s.Stored+s.Dropped || s.Queued != 0 {
		t.Errorf("after the end: %+v", s)
	}
}

// TestCaptureNeverHoldsRecordsUp: what would take more than its share of the writer's time is given up, the record is not.
func TestCaptureNeverHoldsRecordsUp(t *testing.T) {
	t.Parallel()
	var ticks atomic.Int64
	begin := time.Now()
	now := func() time.Time { return begin.Add(time.Duration(ticks.Load())) }
	var load captureLoad
	l := openLog(t, Options{Store: &fakeStore{}})
	defer l.Close()
	fill := func() *Capture {
		c := l.NewCapture(NewCaptureRules(nil, nil))
		c.RequestBody("text/plain", "", -1, 1<<10)
		c.ReadRequest(bytes.Repeat([]byte("a"), 1<<10))
		return c
	}
	try := func(burst int64, took time.Duration) bool {
		c := fill()
		defer c.release()
		done := load.admit(c, burst, now)
		ticks.Add(int64(took))
		done()
		return !c.gone
	}
	for i, want := range []bool{true, true, true, false, false} { // 20 ms each: three are 3 KiB and more than the half
		if got := try(2<<10, 20*time.Millisecond); got != want {
			t.Errorf("capture %d: redacted %v, want %v", i, got, want)
		}
		if !want {
			ticks.Add(int64(-20 * time.Millisecond))
		}
	}
	if s := l.Stats(); s.CapturesDropped != 2 || s.CaptureDropped != 2<<10 || s.Captured != 0 {
		t.Errorf("counted %d dropped, %d bytes, %d on their way", s.CapturesDropped, s.CaptureDropped, s.Captured)
	}
	ticks.Add(int64(captureWindow))
	for i := range 20 { // much of it, but quick
		if !try(1<<10, time.Millisecond) {
			t.Errorf("quick capture %d was given up", i)
		}
	}
	ticks.Add(int64(captureWindow))
	for i := range 3 { // slow, but little of it
		if !try(1<<20, 30*time.Millisecond) {
			t.Errorf("small capture %d was given up", i)
		}
	}
}

// TestTailBoundsCapturedText: a slow reader of a tail holds a bounded amount of captured text.
func TestTailBoundsCapturedText(t *testing.T) {
	t.Parallel()
	l := openLog(t, Options{Store: &fakeStore{}, CaptureBurst: 1 << 30})
	defer l.Close()
	tail, err := l.Follow(Filter{})
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	const n = 40
	body := bytes.Repeat([]byte("abcdefg "), MaxCapturedBody/8)
	for range n {
		c := l.NewCapture(NewCaptureRules(nil, nil))
		c.ResponseBody("text/plain", "", -1, MaxCapturedBody)
		c.WroteResponse(body)
		captured(t, l, c, 0, len(body))
	}
	records, err := tail.Next(context.Background())
	if err != nil || len(records) != n {
		t.Fatalf("got %d records, %v, want %d", len(records), err, n)
	}
	whole := 0
	for _, r := range records {
		switch r.ResponseBody {
		case string(body):
			whole++
		case noteNotRead:
		default:
			t.Errorf("got %.40q", r.ResponseBody)
		}
	}
	if whole != tailBytes/MaxCapturedBody {
		t.Errorf("the tail held %d whole bodies, want %d", whole, tailBytes/MaxCapturedBody)
	}
}

// FuzzCaptureJSON: whatever comes, and wherever it is cut, the value of a sensitive field does not come out.
func FuzzCaptureJSON(f *testing.F) {
	f.Add(`{"a":`, `,"b":[1]}`, 12)
	f.Add(`[{"x":"`, `"}]`, 40)
	f.Add(`{"payload":"{\"a\":`, `}"}`, 60)
	f.Fuzz(func(t *testing.T, before, after string, cut int) {
		const secret = "hunter2zzz"
		if strings.Contains(before+after, "hunter2") {
			return
		}
		text := before + `{"password":"` + secret + `"}` + after
		if cut > 0 && cut < len(text) {
			text = text[:cut]
		} else {
			cut = 0
		}
		c := &Capture{rules: NewCaptureRules(nil, nil)}
		out, _, ok := c.redactJSON([]byte(text), 1<<16, cut > 0, false)
		var parsed any
		if json.Unmarshal([]byte(text), &parsed) == nil && !ok {
			t.Fatalf("refused JSON: %q", text)
		}
		// Within a string the text may stand where it is no field.
		if ok && !strings.Contains(before, `"`) && strings.Contains(string(out), secret) {
			t.Fatalf("%q gives %q", text, out)
		}
	})
}

// BenchmarkCapture is what one captured JSON body of 4 KiB costs: on the request path to take it, in the writer to redact it.
func BenchmarkCapture(b *testing.B) {
	l, err := Open(Options{Store: &nullStore{}})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	rules := NewCaptureRules(nil, nil)
	var body []byte
	for len(body) < 4000 {
		body = append(body, `{"id":"ch_123","amount":100,"currency":"usd","description":"a charge","card":{"number":"4242424242424242"},"paid":true},`...)
	}
	body = append(append([]byte{'['}, body[:len(body)-1]...), ']')
	take := func() *Capture {
		c := l.NewCapture(rules)
		c.RequestBody("application/json", "", int64(len(body)), 8<<10)
		c.ReadRequest(body)
		c.End(int64(len(body)), 0, true, true)
		return c
	}
	b.Run("take", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			take().release()
		}
	})
	b.Run("redact", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			c := take()
			var r Record
			c.render(&r)
			c.release()
		}
	})
}
