package api

import (
	"bytes"
	"testing"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
)

// TestStoredWebhookURL: an event that an earlier version wrote with a whole URL is shown so to who may list endpoints, and to
// nobody else; what is stored is not touched.
func TestStoredWebhookURL(t *testing.T) {
	t.Parallel()
	stored := keystore.StoredEvent{
		Event: &keystore.Event{Type: keystore.EventWebhookUpdated,
			Before: map[string]any{"url": "https://hooks.example/T0/secret"}, After: map[string]any{"url": "https://hooks.example:8443/s?secret", "events": "*"}},
		Body: []byte(`{"url":"https://hooks.example/T0/secret"}`),
	}
	for _, role := range []keystore.Role{keystore.RoleViewer, keystore.RoleDeveloper, keystore.RoleAdministrator, ""} {
		c := &call{caller: &auth.Caller{Role: role}}
		e := c.shownEvent(stored)
		if role == keystore.RoleAdministrator {
			if !bytes.Equal(e.Body, stored.Body) || e.After["url"] != stored.After["url"] {
				t.Errorf("an administrator is shown %s", e.Body)
			}
			continue
		}
		if e.Before["url"] != "https://hooks.example" || e.After["url"] != "https://hooks.example:8443" || e.After["events"] != "*" || bytes.Contains(e.Body, []byte("secret")) {
			t.Errorf("'%s' is shown %v, %v, %s", role, e.Before, e.After, e.Body)
		}
	}
	if stored.Before["url"] != "https://hooks.example/T0/secret" {
		t.Error("the event itself was changed")
	}
}
