package dashboard

import (
	"fmt"
	"strings"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/policy"
)

func appPages() []route {
	return []route{
		{"POST /profile/app", "enroll_totp", (*request).enrollApp},
		{"POST /profile/app/confirm", "confirm_totp", (*request).confirmApp},
		{"POST /profile/app/remove", "remove_totp", (*request).removeApp},
		{"POST /profile/app/codes", "create_recovery_codes", (*request).newCodes},
	}
}

var doneAppRemoved = notice("app_removed", "The authenticator app is removed.")

// appPage shows what an authenticator app is set up with, and takes its first code.
type appPage struct {
	Page
	Secret string
	QR     *qrCode
	Wrong  string
}

// codesPage shows recovery codes, in this answer and no other.
type codesPage struct {
	Page
	Codes []string
}

func (q *request) enrollApp() error {
	body := api.AppEnroll{}
	if password := q.r.PostForm.Get("current_password"); password != "" {
		body.CurrentPassword = api.Set(password)
	}
	app, err := ask[api.AppSecret](q.own(), post("/v1/session/totp", body))
	if err != nil {
		return q.appFailure(err)
	}
	code, err := newQR(app.URL)
	if err != nil {
		return err
	}
	return q.show("app", &appPage{Page: q.page("Set up an authenticator app", "profile"), Secret: string(app.Secret), QR: code})
}

// appFailure shows the profile with what was wrong.
func (q *request) appFailure(err error) error {
	wrong := ownFailure(err)
	if wrong == nil {
		return err
	}
	p, err := q.profilePage()
	if err != nil {
		return err
	}
	p.App = wrong
	return q.show("profile", p)
}

func (q *request) confirmApp() error {
	codes, err := ask[api.RecoveryCodes](q.own(), post("/v1/session/totp/confirm", api.AppConfirm{Code: q.form("code")}))
	if err != nil {
		wrong := ownFailure(err)
		if wrong == nil {
			return err
		}
		// The secret was shown once. Who typed a wrong code has the app set up, and tries again.
		return q.show("app", &appPage{Page: q.page("Set up an authenticator app", "profile"), Wrong: wrong.Message})
	}
	return q.showCodes(codes)
}

func (q *request) showCodes(codes api.RecoveryCodes) error {
	p := &codesPage{Page: q.page("Recovery codes", "profile")}
	for _, c := range codes.Codes {
		p.Codes = append(p.Codes, string(c))
	}
	return q.show("codes", p)
}

// proof is what the API wants before it changes or removes the app.
func (q *request) proof() api.AppProof {
	var body api.AppProof
	if password := q.r.PostForm.Get("current_password"); password != "" {
		body.CurrentPassword = api.Set(password)
	}
	code := q.form("code")
	switch {
	case len(code) > 7:
		body.RecoveryCode = api.Set(code)
	case code != "":
		body.Code = api.Set(code)
	}
	return body
}

func (q *request) removeApp() error {
	if _, err := ask[api.Done](q.own(), post("/v1/session/totp/remove", q.proof())); err != nil {
		return q.appFailure(err)
	}
	return q.seeOther("/profile", doneAppRemoved)
}

func (q *request) newCodes() error {
	codes, err := ask[api.RecoveryCodes](q.own(), post("/v1/session/recovery_codes", q.proof()))
	if err != nil {
		return q.appFailure(err)
	}
	return q.showCodes(codes)
}

// qrCode is a QR code as one path of a picture: a square for each dark module.
type qrCode struct {
	Size int
	Path string
}

// newQR draws what an authenticator app is set up with. The picture stands in the page itself, so that no address leads to it.
func newQR(url api.Token) (*qrCode, error) {
	rows, err := auth.QRCode(policy.TokenFrom(string(url)))
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for y, row := range rows {
		for x := 0; x < len(row); x++ {
			run := 0
			for x+run < len(row) && row[x+run] {
				run++
			}
			if run > 0 {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", x, y, run, run)
				x += run
			}
		}
	}
	return &qrCode{Size: len(rows), Path: b.String()}, nil
}
