package keystore

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/keystile/keystile/policy"
)

// The numbers of the fields in stored records. They are stored: a number never gets another meaning, and new fields get
// new numbers.
const (
	organizationID = iota + 1
	organizationName
	organizationCreatedAt
	organizationRevision
)

const (
	accountID = iota + 1
	accountName
	accountOrganization
	accountDefaultVersion
	accountConnections
	accountDefaultSandbox
	accountCreatedAt
	accountRevision
)

// What came later.
const (
	accountLiveRate    = 30
	accountSandboxRate = 31
)

const (
	sandboxID = iota + 1
	sandboxAccount
	sandboxName
	sandboxCreatedAt
	sandboxRevision
)

func (o *Organization) encode() []byte {
	e := newEncoder(96)
	e.string(organizationID, o.ID)
	e.string(organizationName, o.Name)
	e.time(organizationCreatedAt, o.CreatedAt)
	e.uint(organizationRevision, o.Revision)
	return e.finish()
}

func decodeOrganization(id string, data []byte) (*Organization, error) {
	o := new(Organization)
	err := decodeRecord(data, func(number uint64, value []byte) (err error) {
		switch number {
		case organizationID:
			o.ID = string(value)
		case organizationName:
			o.Name = string(value)
		case organizationCreatedAt:
			o.CreatedAt, err = decodeTime(value)
		case organizationRevision:
			o.Revision, err = decodeUint(value)
		default:
			err = unknownField(number)
		}
		return err
	})
	if err == nil {
		err = checkID(prefixOrganization, id, o.ID)
	}
	return o, err
}

func (a *Account) encode() []byte {
	e := newEncoder(160 + 26*len(a.Connections))
	e.string(accountID, a.ID)
	e.string(accountName, a.Name)
	e.string(accountOrganization, a.Organization)
	e.string(accountDefaultVersion, a.DefaultVersion)
	e.strings(accountConnections, a.Connections)
	e.string(accountDefaultSandbox, a.DefaultSandbox)
	e.time(accountCreatedAt, a.CreatedAt)
	e.uint(accountRevision, a.Revision)
	e.uint(accountLiveRate, uint64(a.RateLimit.Live))
	e.uint(accountSandboxRate, uint64(a.RateLimit.Sandbox))
	return e.finish()
}

func decodeAccount(in *interner, id string, data []byte) (*Account, error) {
	a := new(Account)
	err := decodeRecord(data, func(number uint64, value []byte) (err error) {
		switch number {
		case accountID:
			a.ID = in.bytes(value)
		case accountName:
			a.Name = string(value)
		case accountOrganization:
			a.Organization = in.bytes(value)
		case accountDefaultVersion:
			a.DefaultVersion = in.bytes(value)
		case accountConnections:
			a.Connections, err = decodeStrings(value, in.text)
		case accountDefaultSandbox:
			a.DefaultSandbox = in.bytes(value)
		case accountCreatedAt:
			a.CreatedAt, err = decodeTime(value)
		case accountRevision:
			a.Revision, err = decodeUint(value)
		case accountLiveRate:
			a.RateLimit.Live, err = decodeLimit(value)
		case accountSandboxRate:
			a.RateLimit.Sandbox, err = decodeLimit(value)
		default:
			err = unknownField(number)
		}
		return err
	})
	if err == nil && !slices.IsSorted(a.Connections) {
		err = errors.New("the connections are out of order")
	}
	if err == nil {
		err = checkID(prefixAccount, id, a.ID)
	}
	return a, err
}

func (b *Sandbox) encode() []byte {
	e := newEncoder(112)
	e.string(sandboxID, b.ID)
	e.string(sandboxAccount, b.Account)
	e.string(sandboxName, b.Name)
	e.time(sandboxCreatedAt, b.CreatedAt)
	e.uint(sandboxRevision, b.Revision)
	return e.finish()
}

func decodeSandbox(in *interner, id string, data []byte) (*Sandbox, error) {
	b := new(Sandbox)
	err := decodeRecord(data, func(number uint64, value []byte) (err error) {
		switch number {
		case sandboxID:
			b.ID = in.bytes(value)
		case sandboxAccount:
			b.Account = in.bytes(value)
		case sandboxName:
			b.Name = in.bytes(value)
		case sandboxCreatedAt:
			b.CreatedAt, err = decodeTime(value)
		case sandboxRevision:
			b.Revision, err = decodeUint(value)
		default:
			err = unknownField(number)
		}
		return err
	})
	if err == nil {
		err = checkID(prefixSandbox, id, b.ID)
	}
	if err == nil && b.Account == "" {
		err = errors.New("the sandbox has no account")
	}
	return b, err
}

// checkID refuses a record that stands in another's place.
func checkID(prefix, row, record string) error {
	if row != record {
		return errors.New("the record belongs to another id")
	}
	p, body, ok := cutIDPrefix(record)
	if !ok || p != prefix || !isBase62(body) {
		return fmt.Errorf("the record's id does not begin with %s", prefix)
	}
	return nil
}

// appendPermissions is the canonical encoding of a set: names in order, each with one byte of access.
func appendPermissions(b []byte, p *policy.Permissions) []byte {
	m := p.Map()
	for _, name := range slices.Sorted(maps.Keys(m)) {
		b = appendString(b, name)
		b = append(b, byte(m[name]))
	}
	return b
}

func decodePermissions(b []byte) (*policy.Permissions, error) {
	m := make(map[string]policy.Access)
	for len(b) > 0 {
		name, rest, err := cutValue(b)
		if err != nil {
			return nil, err
		}
		if len(rest) == 0 {
			return nil, errRecordCut
		}
		access := policy.Access(rest[0])
		if access != policy.AccessRead && access != policy.AccessWrite {
			return nil, errors.New("not an access level")
		}
		if _, twice := m[string(name)]; twice {
			return nil, errors.New("a permission stands there twice")
		}
		m[string(name)] = access
		b = rest[1:]
	}
	return policy.NewPermissions(m), nil
}
