package keystore

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/policy"
)

func sampleKey() *Key {
	at := time.UnixMilli(1_760_000_000_123).UTC()
	k := &Key{
		ID:             "key_0123456789abcdefghij",
		Kind:           policy.KindRestricted,
		Mode:           policy.ModeSandbox,
		Account:        "acct_0123456789abcdefghij",
		Sandbox:        "sbx_0123456789abcdefghij",
		Name:           "billing",
		Note:           "vault: billing\nsecond line",
		Metadata:       map[string]string{"team": "a", "b": "c"},
		Mask:           "rk_test_****abcd",
		Digest:         policy.DigestOf("token"),
		Default:        true,
		Imported:       true,
		Deleted:        true,
		IPRanges:       []string{"10.0.0.0/8", "203.0.113.5"},
		AllowedOrigins: []string{"https://example.com"},
		CreatedAt:      at,
		CreatedBy:      "mem_1",
		ExpiresAt:      at.Add(time.Hour),
		EndedAt:        at.Add(time.Minute),
		Predecessor:    "key_a",
		Successor:      "key_b",
		Revision:       77,
		revealed:       true,
		sealed:         "sealed bytes \x00\xff",
	}
	k.Principal.Permissions = policy.NewPermissions(map[string]policy.Access{"charges": policy.AccessWrite, "customers": policy.AccessRead})
	k.Principal.ConnectedPermissions = policy.NewPermissions(nil)
	if err := k.compile(newInterner()); err != nil {
		panic(err)
	}
	return k
}

func TestKeyRoundTrip(t *testing.T) {
	t.Parallel()
	full := sampleKey()
	small := &Key{
		ID: full.ID, Kind: policy.KindOrganization, Mode: policy.ModeLive, Organization: "org_0123456789abcdefghij",
		Digest: full.Digest, CreatedAt: full.CreatedAt,
	}
	if err := small.compile(newInterner()); err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]*Key{"full": full, "small": small} {
		data := k.encode()
		got, err := decodeKey(newInterner(), k.ID, data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want := Plain(k); !reflect.DeepEqual(Plain(got), want) {
			t.Errorf("%s: got  %+v\nwant %+v", name, Plain(got), want)
		}
		if !bytes.Equal(got.encode(), data) {
			t.Errorf("%s: a second encoding differs", name)
		}
	}
}

func TestOthersRoundTrip(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_760_000_000_123).UTC()
	o := &Organization{ID: "org_1", Name: "O", CreatedAt: at, Revision: 3}
	if got, err := decodeOrganization(o.ID, o.encode()); err != nil || *got != *o {
		t.Errorf("organization: %+v, %v; want %+v", got, err, o)
	}
	a := &Account{
		ID: "acct_1", Name: "A", Organization: "org_1", DefaultVersion: "2024-06-20", Connections: []string{"acct_2", "acct_3"},
		DefaultSandbox: "sbx_1", CreatedAt: at, Revision: 4,
	}
	if got, err := decodeAccount(newInterner(), a.ID, a.encode()); err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("account: %+v, %v; want %+v", got, err, a)
	}
	b := &Sandbox{ID: "sbx_1", Account: "acct_1", Name: "default", CreatedAt: at, Revision: 5}
	if got, err := decodeSandbox(newInterner(), b.ID, b.encode()); err != nil || *got != *b {
		t.Errorf("sandbox: %+v, %v; want %+v", got, err, b)
	}
}

// withField is a record with one more field at its end.
func withField(record []byte, number uint64, value string) []byte {
	body := bytes.Clone(record[:len(record)-4])
	body = binary.AppendUvarint(body, number)
	body = appendString(body, value)
	return binary.BigEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
}

func TestFieldsOfLaterVersions(t *testing.T) {
	t.Parallel()
	k := sampleKey()
	if _, err := decodeKey(newInterner(), k.ID, withField(k.encode(), criticalField-1, "news")); err != nil {
		t.Errorf("a field that may be skipped: %v", err)
	}
	if _, err := decodeKey(newInterner(), k.ID, withField(k.encode(), criticalField, "news")); err == nil {
		t.Error("a key with a restriction that this version does not know was read as if it had none")
	}
	if _, err := decodeKey(newInterner(), k.ID, withField(k.encode(), keyName, "again")); err == nil {
		t.Error("a field out of order was read")
	}
	newer := k.encode()
	newer[0] = recordVersion + 1
	newer = binary.BigEndian.AppendUint32(newer[:len(newer)-4], crc32.Checksum(newer[:len(newer)-4], castagnoli))
	if _, err := decodeKey(newInterner(), k.ID, newer); err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("a record of another format: %v", err)
	}
}

// TestFlippedBit flips every bit of a record: none may be read as another key.
func TestFlippedBit(t *testing.T) {
	t.Parallel()
	k := sampleKey()
	data := k.encode()
	for i := range data {
		for bit := range 8 {
			bad := bytes.Clone(data)
			bad[i] ^= 1 << bit
			if _, err := decodeKey(newInterner(), k.ID, bad); err == nil {
				t.Fatalf("bit %d of byte %d flipped: the record was read", bit, i)
			}
		}
		if _, err := decodeKey(newInterner(), k.ID, data[:i]); err == nil {
			t.Fatalf("cut to %d bytes: the record was read", i)
		}
	}
	if _, err := decodeKey(newInterner(), "key_another", data); err == nil {
		t.Error("a record in another key's place was read")
	}
}

// TestHalfKeys checks that a record with a part missing never becomes a key with more rights.
func TestHalfKeys(t *testing.T) {
	t.Parallel()
	cases := map[string]func(*Key){
		"no kind":                func(k *Key) { k.Kind = 0 },
		"no mode":                func(k *Key) { k.Mode = 0 },
		"unknown kind":           func(k *Key) { k.Kind = 9 },
		"no owner":               func(k *Key) { k.Account = "" },
		"two owners":             func(k *Key) { k.Organization = "org_1" },
		"no sandbox":             func(k *Key) { k.Sandbox = "" },
		"no permissions":         func(k *Key) { k.Principal.Permissions = nil },
		"no connected ones":      func(k *Key) { k.Principal.ConnectedPermissions = nil },
		"no creation":            func(k *Key) { k.CreatedAt = time.Time{} },
		"deleted without an end": func(k *Key) { k.EndedAt = time.Time{} },
		"publishable, no token":  func(k *Key) { k.Kind = policy.KindPublishable },
	}
	for name, change := range cases {
		k := sampleKey()
		change(k)
		if _, err := decodeKey(newInterner(), k.ID, k.encode()); err == nil {
			t.Errorf("%s: the record was read", name)
		}
	}
}

// TestFuzzDecodeFirstMomentOf1970: a key that ended in the first millisecond of 1970 is not read again as one without an end.
func TestFuzzDecodeFirstMomentOf1970(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{time.UnixMilli(0).UTC(), time.Unix(0, 999_999).UTC()} {
		k := sampleKey()
		k.Deleted, k.EndedAt, k.ExpiresAt = false, time.Time{}, at
		again, err := decodeKey(newInterner(), k.ID, k.encode())
		if err != nil {
			t.Fatal(err)
		}
		if !again.ExpiresAt.Equal(at.Truncate(time.Millisecond)) || !again.Ended(time.Now()) {
			t.Errorf("a key that expires at %v is read as one that expires at %v", at, again.ExpiresAt)
		}
	}
}

func FuzzDecode(f *testing.F) {
	k := sampleKey()
	f.Add(k.ID, k.encode())
	f.Add("acct_1", (&Account{ID: "acct_1", Name: "A", Connections: []string{"acct_2"}}).encode())
	f.Add("sbx_1", (&Sandbox{ID: "sbx_1", Account: "acct_1", Name: "default"}).encode())
	f.Add("org_1", (&Organization{ID: "org_1", Name: "O"}).encode())
	f.Add("", []byte{1})
	f.Fuzz(func(t *testing.T, id string, data []byte) {
		// The sum would keep the fuzzer out: put it right.
		if len(data) >= 5 {
			data = binary.BigEndian.AppendUint32(data[:len(data)-4:len(data)-4], crc32.Checksum(data[:len(data)-4], castagnoli))
		}
		if k, err := decodeKey(newInterner(), id, data); err == nil {
			again, err := decodeKey(newInterner(), id, k.encode())
			if err != nil || !reflect.DeepEqual(Plain(again), Plain(k)) {
				t.Fatalf("a key that was read cannot be written and read again: %v\n%+v\n%+v", err, Plain(k), again)
			}
		}
		if a, err := decodeAccount(newInterner(), id, data); err == nil {
			if again, err := decodeAccount(newInterner(), id, a.encode()); err != nil || !reflect.DeepEqual(again, a) {
				t.Fatalf("account: %v\n%+v\n%+v", err, a, again)
			}
		}
		if b, err := decodeSandbox(newInterner(), id, data); err == nil {
			if again, err := decodeSandbox(newInterner(), id, b.encode()); err != nil || *again != *b {
				t.Fatalf("sandbox: %v\n%+v\n%+v", err, b, again)
			}
		}
		if o, err := decodeOrganization(id, data); err == nil {
			if again, err := decodeOrganization(id, o.encode()); err != nil || *again != *o {
				t.Fatalf("organization: %v\n%+v\n%+v", err, o, again)
			}
		}
	})
}
