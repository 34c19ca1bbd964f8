// Package awskms lets a key of AWS's key management service encrypt the master keyset, by Tink's own integration. The
// service is asked when the keyset is read or changed, and never for a request.
//
// Credentials come from where the AWS SDK finds them: the environment, its files, or the machine's role.
package awskms

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/tink-crypto/tink-go-awskms/v3/integration/awskms"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/keystile/keystile/keystore"
)

const prefix = "aws-kms://"

var shape = regexp.MustCompile(`^aws-kms://arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/[A-Za-z0-9/_-]{1,256}$`)

// Check says what is wrong with the URI of a key. It asks nobody.
func Check(uri string) error {
	if !shape.MatchString(uri) {
		return errors.New("want aws-kms://arn:aws:kms:REGION:ACCOUNT:key/ID (or alias/NAME)")
	}
	return nil
}

// MasterKey is a file that holds the master keyset as the key of a URI has encrypted it.
func MasterKey(path, uri string) keystore.MasterKey {
	return keystore.MasterKeyWrapped(path, uri, func(ctx context.Context) (tink.AEADWithContext, error) { return connect(ctx, uri) })
}

// connect is the key of a URI. It finds credentials, and asks the service only when it is used.
func connect(ctx context.Context, uri string) (tink.AEADWithContext, error) {
	if err := Check(uri); err != nil {
		return nil, err
	}
	return awskms.NewAEADWithContext(ctx, strings.TrimPrefix(uri, prefix))
}
