package api

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keystile/keystile/keystore"
)

// RequestRate is a number of requests a second.
type RequestRate uint32

// Schema holds it to what a limit may be. 0 is none: whoever means to shut somebody out deletes the key.
func (RequestRate) Schema(huma.Registry) *huma.Schema {
	lowest, highest := 1.0, float64(keystore.MaxRateLimit)
	return &huma.Schema{Type: huma.TypeInteger, Minimum: &lowest, Maximum: &highest}
}

// UnmarshalJSON takes whole numbers only.
func (r *RequestRate) UnmarshalJSON(data []byte) error {
	var n float64
	if err := json.Unmarshal(data, &n); err != nil {
		return err
	}
	if n != math.Trunc(n) || n < 1 || n > keystore.MaxRateLimit {
		return fmt.Errorf("a rate is a whole number from 1 to %d", keystore.MaxRateLimit)
	}
	*r = RequestRate(n)
	return nil
}

// RateLimit is what an account's rate limits are to be: by mode, or one number for both.
type RateLimit struct {
	Live    Optional[RequestRate] `json:"live,omitzero"`
	Sandbox Optional[RequestRate] `json:"sandbox,omitzero"`
}

// UnmarshalJSON takes an object or a number.
func (r *RateLimit) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] != '{' {
		var both RequestRate
		if err := json.Unmarshal(data, &both); err != nil {
			return err
		}
		r.Live, r.Sandbox = Set(both), Set(both)
		return nil
	}
	type plain RateLimit
	return json.Unmarshal(data, (*plain)(r))
}

// Schema is a number or an object.
func (RateLimit) Schema(huma.Registry) *huma.Schema {
	both, whole := RequestRate(0).Schema(nil), 1.0
	both.Type, both.MultipleOf, both.Description = huma.TypeNumber, &whole, "Requests a second in each mode"
	return &huma.Schema{OneOf: []*huma.Schema{both, rateLimitSchema()}}
}

func (r RateLimit) stored() keystore.RateLimit {
	return keystore.RateLimit{Live: uint32(r.Live.Value), Sandbox: uint32(r.Sandbox.Value)}
}

// RateLimits are an account's own rate limits.
type RateLimits struct {
	Live    *uint32 `json:"live"`
	Sandbox *uint32 `json:"sandbox"`
}

// Schema is an object or null.
func (RateLimits) Schema(huma.Registry) *huma.Schema {
	s := rateLimitSchema()
	s.Nullable, s.Required = true, []string{"live", "sandbox"}
	return s
}

func rateLimitSchema() *huma.Schema {
	one := func(mode string) *huma.Schema {
		s := RequestRate(0).Schema(nil)
		s.Nullable, s.Description = true, "Requests a second in "+mode+" mode; null: as the configuration says"
		return s
	}
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: false,
		Properties: map[string]*huma.Schema{"live": one("live"), "sandbox": one("sandbox")},
	}
}

func viewRateLimit(r keystore.RateLimit) *RateLimits {
	if r == (keystore.RateLimit{}) {
		return nil
	}
	one := func(n uint32) *uint32 {
		if n == 0 {
			return nil
		}
		return &n
	}
	return &RateLimits{Live: one(r.Live), Sandbox: one(r.Sandbox)}
}
