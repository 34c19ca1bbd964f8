package keystore

import (
	"errors"

	"github.com/keystile/keystile/policy"
)

// The numbers of an admin token's fields. They are stored. What narrows it stands from criticalField up: a program that
// does not know one of those must not take the token for a wider one.
const (
	adminTokenID = iota + 1
	adminTokenName
	adminTokenMask
	adminTokenDigest
	adminTokenCreatedAt
	adminTokenCreatedBy
	adminTokenRevision

	adminTokenRole         = criticalField
	adminTokenOrganization = criticalField + 1
	adminTokenAccount      = criticalField + 2
	adminTokenExpiresAt    = criticalField + 3
)

func (t *AdminToken) encode() []byte {
	e := newEncoder(224)
	e.string(adminTokenID, t.ID)
	e.string(adminTokenName, t.Name)
	e.string(adminTokenMask, t.Mask)
	e.bytes(adminTokenDigest, t.Digest[:])
	e.time(adminTokenCreatedAt, t.CreatedAt)
	e.string(adminTokenCreatedBy, t.CreatedBy)
	e.uint(adminTokenRevision, t.Revision)
	e.string(adminTokenRole, string(t.Role))
	e.string(adminTokenOrganization, t.Organization)
	e.string(adminTokenAccount, t.Account)
	e.time(adminTokenExpiresAt, t.ExpiresAt)
	return e.finish()
}

func decodeAdminToken(id string, data []byte) (*AdminToken, error) {
	t := &AdminToken{usage: new(usageCell)}
	err := decodeRecord(data, func(number uint64, value []byte) (err error) {
		switch number {
		case adminTokenID:
			t.ID = string(value)
		case adminTokenName:
			t.Name = string(value)
		case adminTokenMask:
			t.Mask = string(value)
		case adminTokenDigest:
			if copy(t.Digest[:], value) != len(value) || len(value) != len(t.Digest) {
				err = errors.New("not a digest")
			}
		case adminTokenCreatedAt:
			t.CreatedAt, err = decodeTime(value)
		case adminTokenCreatedBy:
			t.CreatedBy = string(value)
		case adminTokenRevision:
			t.Revision, err = decodeUint(value)
		case adminTokenRole:
			t.Role = Role(value)
		case adminTokenOrganization:
			t.Organization = string(value)
		case adminTokenAccount:
			t.Account = string(value)
		case adminTokenExpiresAt:
			t.ExpiresAt, err = decodeTime(value)
		default:
			err = unknownField(number)
		}
		return err
	})
	if err == nil {
		err = checkID(prefixAdminToken, id, t.ID)
	}
	if err == nil {
		err = t.checkStored()
	}
	return t, err
}

// checkStored refuses a token that could open more than it was made for: fail closed.
func (t *AdminToken) checkStored() error {
	switch _, known := ParseRole(string(t.Role)); {
	case !known:
		return errors.New("the admin token has no role that is known")
	case t.Digest == policy.Digest{}:
		return errors.New("the admin token has no digest")
	case t.Organization != "" && t.Account != "":
		return errors.New("the admin token has two limits")
	}
	return nil
}
