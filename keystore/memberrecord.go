package keystore

import (
	"errors"

	"github.com/keystile/keystile/policy"
)

// The numbers of a member's fields. They are stored. What says what a member may do stands from criticalField up.
const (
	memberID = iota + 1
	memberName
	memberEmail
	memberCreatedAt
	memberCreatedBy
	memberRevision
	memberInvitation
	memberSecrets
	memberHasPassword
	memberRecovery
	memberEmailProven // a version that does not know it forgets it, which is the safe side
	memberMailed

	memberGrants       = criticalField
	memberActive       = criticalField + 1
	memberInvitedUntil = criticalField + 2
	memberHasTOTP      = criticalField + 3
)

func (m *Member) encode() []byte {
	e := newEncoder(320)
	e.string(memberID, m.ID)
	e.string(memberName, m.Name)
	e.string(memberEmail, m.Email)
	e.time(memberCreatedAt, m.CreatedAt)
	e.string(memberCreatedBy, m.CreatedBy)
	e.uint(memberRevision, m.Revision)
	if m.Invitation != (policy.Digest{}) {
		e.bytes(memberInvitation, m.Invitation[:])
	}
	e.string(memberSecrets, m.sealed)
	e.flag(memberHasPassword, m.HasPassword)
	e.uint(memberRecovery, uint64(m.Recovery))
	e.flag(memberEmailProven, m.EmailProven)
	e.flag(memberMailed, m.Mailed)
	var grants []string
	for _, g := range m.Grants {
		grants = append(grants, string(g.Role), g.Organization, g.Account)
	}
	e.strings(memberGrants, grants)
	e.flag(memberActive, m.Active)
	e.time(memberInvitedUntil, m.InvitedUntil)
	e.flag(memberHasTOTP, m.HasTOTP)
	return e.finish()
}

// flag writes true as 1, and leaves false out.
func (e *encoder) flag(field uint64, v bool) {
	if v {
		e.uint(field, 1)
	}
}

func decodeMember(id string, data []byte) (*Member, error) {
	m := new(Member)
	err := decodeRecord(data, func(number uint64, value []byte) (err error) {
		switch number {
		case memberID:
			m.ID = string(value)
		case memberName:
			m.Name = string(value)
		case memberEmail:
			m.Email = string(value)
		case memberCreatedAt:
			m.CreatedAt, err = decodeTime(value)
		case memberCreatedBy:
			m.CreatedBy = string(value)
		case memberRevision:
			m.Revision, err = decodeUint(value)
		case memberInvitation:
			err = decodeDigest(&m.Invitation, value)
		case memberSecrets:
			m.sealed = string(value)
		case memberHasPassword:
			m.HasPassword = true
		case memberRecovery:
			var n uint64
			n, err = decodeUint(value)
			m.Recovery = int(min(n, MaxRecoveryCodes))
		case memberEmailProven:
			m.EmailProven = true
		case memberMailed:
			m.Mailed = true
		case memberGrants:
			m.Grants, err = decodeGrants(value)
		case memberActive:
			m.Active = true
		case memberInvitedUntil:
			m.InvitedUntil, err = decodeTime(value)
		case memberHasTOTP:
			m.HasTOTP = true
		default:
			err = unknownField(number)
		}
		return err
	})
	if err == nil {
		err = checkID(prefixMember, id, m.ID)
	}
	if err == nil {
		err = m.checkStored()
	}
	return m, err
}

func decodeDigest(d *policy.Digest, value []byte) error {
	if copy(d[:], value) != len(value) || len(value) != len(d) {
		return errors.New("not a digest")
	}
	return nil
}

func decodeGrants(value []byte) ([]Grant, error) {
	parts, err := decodeStrings(value, func(s string) string { return s })
	if err != nil || len(parts)%3 != 0 {
		return nil, errors.New("not a list of grants")
	}
	var grants []Grant
	for ; len(parts) > 0; parts = parts[3:] {
		grants = append(grants, Grant{Role: Role(parts[0]), Organization: parts[1], Account: parts[2]})
	}
	return grants, nil
}

// checkStored refuses a member who could do more than was granted: fail closed.
func (m *Member) checkStored() error {
	if len(m.Grants) == 0 {
		return errors.New("the member has no grant")
	}
	for _, g := range m.Grants {
		switch _, known := ParseRole(string(g.Role)); {
		case !known:
			return errors.New("the member has a role that is not known")
		case g.Organization != "" && g.Account != "":
			return errors.New("the member has a grant on two things")
		}
	}
	if (m.HasPassword || m.HasTOTP) && m.sealed == "" {
		return errors.New("the member's credentials are missing")
	}
	return nil
}
