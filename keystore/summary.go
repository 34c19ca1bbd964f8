package keystore

import (
	"maps"
	"reflect"
	"time"

	"github.com/keystile/keystile/policy"
)

// Summaries are what events say of an object. They name everything that somebody may want to know later and nothing that
// opens a door: no digest, no sealed token, and of a token only its mask.

func (o *Organization) summary() map[string]any {
	if o == nil {
		return nil
	}
	return map[string]any{"name": o.Name}
}

func (a *Account) summary() map[string]any {
	if a == nil {
		return nil
	}
	m := map[string]any{"name": a.Name}
	putText(m, "organization", a.Organization)
	putText(m, "default_api_version", a.DefaultVersion)
	putRateLimit(m, a.RateLimit)
	return m
}

func (b *Sandbox) summary() map[string]any {
	if b == nil {
		return nil
	}
	return map[string]any{"name": b.Name}
}

func (k *Key) summary() map[string]any {
	if k == nil {
		return nil
	}
	m := map[string]any{
		"kind":         k.Kind.String(),
		"mode":         k.Mode.String(),
		"name":         k.Name,
		"token_masked": k.Mask,
	}
	putText(m, "sandbox", k.Sandbox)
	putText(m, "note", k.Note)
	putText(m, "predecessor", k.Predecessor)
	putText(m, "successor", k.Successor)
	putTime(m, "expires_at", k.ExpiresAt)
	putTime(m, "ended_at", k.EndedAt)
	if k.RateLimit > 0 {
		m["rate_limit"] = k.RateLimit
	}
	if k.Schedule != nil {
		m["rotation_schedule"] = k.Schedule.summary()
	}
	putPermissions(m, "permissions", k.Principal.Permissions)
	putPermissions(m, "connected_permissions", k.Principal.ConnectedPermissions)
	for name, on := range map[string]bool{
		"default": k.Default, "imported": k.Imported, "deleted": k.Deleted, "revealed": k.revealed,
	} {
		if on {
			m[name] = true
		}
	}
	if k.IPRanges != nil {
		m["ip_ranges"] = k.IPRanges
	}
	if k.AllowedOrigins != nil {
		m["allowed_origins"] = k.AllowedOrigins
	}
	if len(k.Metadata) > 0 {
		m["metadata"] = k.Metadata
	}
	return m
}

func putText(m map[string]any, name, text string) {
	if text != "" {
		m[name] = text
	}
}

func putTime(m map[string]any, name string, t time.Time) {
	if !t.IsZero() {
		m[name] = t.Format(time.RFC3339Nano)
	}
}

func putPermissions(m map[string]any, name string, p *policy.Permissions) {
	if p == nil {
		return
	}
	set := make(map[string]string, p.Len())
	for resource, access := range p.Map() {
		set[resource] = access.String()
	}
	m[name] = set
}

// differences leaves only the fields that differ. A field that one side does not have is null there.
func differences(before, after map[string]any) (map[string]any, map[string]any) {
	if before == nil || after == nil {
		return before, after
	}
	b, a := make(map[string]any), make(map[string]any)
	all := maps.Clone(before)
	maps.Copy(all, after)
	for name := range all {
		if !reflect.DeepEqual(before[name], after[name]) {
			b[name], a[name] = before[name], after[name]
		}
	}
	return b, a
}
