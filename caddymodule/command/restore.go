package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/awskms"
	"github.com/keystile/keystile/keystore/boltstore"
)

func restoreCommand() caddycmd.Command {
	return caddycmd.Command{
		Name:  "restore",
		Usage: "FILE [flags]",
		Short: "Puts a backup of the key store in place",
		Long: strings.TrimSpace(`
Reads a backup through (its checksum, every row, the whole chain of events, and
whether the master key is the one that its tokens are sealed under) and then puts
it where the gateway looks for its store. - is standard input.

A running gateway holds all keys in memory, and would go on with the old ones. So
stop it, restore, start it. Or, without a pause: restore to another path with --store,
say 'store bolt PATH' in the configuration, and reload: requests go on, and from then
on the restored keys count. What was written after the backup is not in it. A store
that is there already is not replaced without --force, which moves it aside first.
Keys that were made or ended after the backup are as they were before: a deleted key
works again.

Say where the master key is if the configuration does: --master-key FILE for 'master_key
file', --master-key-env NAME for 'master_key env', and --master-key-kms URI for
'master_key kms', whose file is keystile/master.kms. The key management service is then
asked, with the credentials that the AWS SDK finds. A master key that is named so and
is not there, or does not open what the backup holds sealed, is an error, and nothing is
put in place.`),
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Example = `
  keystile restore keys-2027-01-31.tar
  keystile restore keys.tar --check
  keystile restore keys.tar --store /srv/keystile/keys.db --master-key /srv/keystile/master.key
  keystile restore keys.tar --master-key-kms aws-kms://arn:aws:kms:eu-central-1:111122223333:key/1234abcd-…`
			fs := cmd.Flags()
			fs.String("store", "", "`FILE` of the store (default: keystile/keys.db in Caddy's data directory)")
			fs.String("master-key", "", "`FILE` of the master key (default: master.key in the same directory)")
			fs.String("master-key-env", "", "The master key is in the environment variable `NAME`")
			fs.String("master-key-kms", "", "The file of the master key is encrypted by the key `URI` of AWS KMS (default: keystile/master.kms in Caddy's data directory)")
			fs.Bool("check", false, "Read the backup through, and put nothing in place")
			fs.Bool("force", false, "Move a store that is there aside")
			fs.Bool("json", false, "Print what was found and done as JSON")
			leaf(cmd, []string{"FILE"}, runRestore)
			seal(cmd)
		},
	}
}

func runRestore(c *call) error {
	r := &restore{call: c}
	r.store, _ = c.flags().GetString("store")
	r.check, _ = c.flags().GetBool("check")
	r.force, _ = c.flags().GetBool("force")
	if r.store == "" {
		r.store = filepath.Join(caddy.AppDataDir(), "keystile", "keys.db")
	}
	if err := r.chooseMaster(); err != nil {
		return err
	}
	if err := r.vacant(); err != nil && !r.check {
		return err
	}
	input, _, err := c.openInput(c.arg(0))
	if err != nil {
		return err
	}
	defer input.Close()
	return r.run(input)
}

// chooseMaster finds out where the master key is, in the three ways of the configuration.
func (r *restore) chooseMaster() error {
	file, _ := r.call.flags().GetString("master-key")
	env, _ := r.call.flags().GetString("master-key-env")
	uri, _ := r.call.flags().GetString("master-key-kms")
	r.named = file+env+uri != ""
	wrapped := filepath.Join(caddy.AppDataDir(), "keystile", "master.kms") // the configuration knows no other place for it
	switch {
	case env != "" && file+uri != "":
		return misuse("--master-key-env does not go with --master-key or --master-key-kms: the master key is in one place")
	case env != "":
		r.master = keystore.MasterKeyEnv(env)
	case uri != "":
		if err := awskms.Check(uri); err != nil {
			return misuse("--master-key-kms: %v", err)
		}
		r.master = awskms.MasterKey(cmp.Or(file, wrapped), uri)
	default:
		r.master = keystore.MasterKeyFile(cmp.Or(file, filepath.Join(filepath.Dir(r.store), "master.key")))
		if file == "" {
			r.wrapped = wrapped
		}
	}
	return nil
}

// restore is one `restore`.
type restore struct {
	call         *call
	store        string
	master       keystore.MasterKey
	named        bool   // it was said where the master key is: then it has to be there
	wrapped      string // where one would be that a service has encrypted, if nothing was said of where the master key is
	check, force bool
	report       restoreReport
}

// restoreReport is what a restore found and did.
type restoreReport struct {
	Object     string    `json:"object"` // restore
	Placed     bool      `json:"placed"` // false: it was only read through
	Store      string    `json:"store"`
	MovedAside *string   `json:"moved_aside"` // where the store that was there is now
	CreatedAt  time.Time `json:"created_at"`  // of the backup
	Keys       int       `json:"keys"`
	Accounts   int       `json:"accounts"`
	Revision   uint64    `json:"revision"`
	Events     uint64    `json:"events"`
}

// say prints a line for people.
func (r *restore) say(format string, args ...any) {
	if !r.call.json {
		r.call.out.linef(format, args...)
	}
}

// vacant says whether there is no store in the way.
func (r *restore) vacant() error {
	_, err := os.Lstat(r.store)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	release, err := boltstore.Lock(r.store)
	if errors.Is(err, boltstore.ErrInUse) {
		return fmt.Errorf("%s is in use: stop the gateway, restore, and start it again, or restore to another path with --store, "+
			"name that in the configuration, and reload; nothing was changed", r.store)
	}
	if err != nil {
		return err
	}
	if err := release(); err != nil {
		return err
	}
	if !r.force {
		return fmt.Errorf("there is a store at %s already: --force moves it aside; nothing was changed", r.store)
	}
	return nil
}

func (r *restore) run(input io.Reader) (err error) {
	dir := filepath.Dir(r.store)
	if r.check {
		dir = os.TempDir()
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// A directory of its own, for its owner only: beside the place where the copy is to be, so that it can be moved there.
	if dir, err = os.MkdirTemp(dir, ".restore-*"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "keys.db")
	manifest, err := unpackBackup(input, path)
	if err != nil {
		return err
	}
	if err := r.inspect(r.call.context(), path, manifest); err != nil {
		return err
	}
	if r.check {
		r.say("the backup is whole; nothing was put in place")
	} else if err := r.place(path); err != nil {
		return err
	}
	if !r.call.json {
		return nil
	}
	doc, err := json.Marshal(r.report)
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return r.call.out.raw(doc)
}

// inspect reads the copy through and says what it holds.
func (r *restore) inspect(ctx context.Context, path string, manifest *keystore.BackupManifest) error {
	backend, err := boltstore.OpenCopy(path)
	if err != nil {
		return err
	}
	found, err := keystore.Inspect(ctx, backend, r.master)
	err = errors.Join(err, backend.Close())
	switch {
	case err != nil && found != nil && !found.Sealed:
		r.call.warn("nothing in the backup is sealed, but the gateway may not start with this master key: %v", err)
	case err != nil && found != nil:
		return fmt.Errorf("whether the master key is the one of the backup cannot be told: %w; nothing was changed", err)
	case err != nil:
		return fmt.Errorf("the backup cannot be used: %w", err)
	}
	if fault := found.Chain.Fault; fault != nil {
		return fmt.Errorf("the backup cannot be used: event %d: %s", fault.Seq, fault.Reason)
	}
	if found.Chain.Place.String() != manifest.Head || found.Head.Revision != manifest.Revision {
		return errors.New("the backup cannot be used: its copy is not the one that its manifest describes")
	}
	switch {
	case found.Sealed && found.MasterKeyPresent && !found.MasterKeyFit:
		return fmt.Errorf("%v is not the one that the backup's tokens are sealed under (keyset %s): put that one in place, or name it with --master-key, --master-key-env or --master-key-kms",
			r.master, found.MasterKey)
	case found.Sealed && !found.MasterKeyPresent && r.named:
		return fmt.Errorf("%v is not there, and the backup's tokens are sealed under keyset %s: put it in place first, or name where it is; nothing was changed", r.master, found.MasterKey)
	case err == nil && !found.Sealed && !found.MasterKeyPresent && r.named:
		r.call.warn("%v is not there. Nothing in the backup is sealed under another.", r.master)
	case found.Sealed && !found.MasterKeyPresent && r.isWrapped():
		r.call.warn("%s is encrypted by a key management service, and was not looked into: name its key with --master-key-kms. "+
			"The gateway does not start without keyset %s.", r.wrapped, found.MasterKey)
	case found.Sealed && !found.MasterKeyPresent:
		r.call.warn("%v is not there. The gateway does not start without it: put the one of keyset %s in place.", r.master, found.MasterKey)
	}
	r.report = restoreReport{
		Object: "restore", Store: r.store, CreatedAt: manifest.CreatedAt, Keys: found.Keys, Accounts: found.Accounts,
		Revision: found.Head.Revision, Events: found.Head.Events,
	}
	r.say("backup of %s: %d keys, %d accounts, revision %d, %d events in order", moment(&manifest.CreatedAt), found.Keys, found.Accounts,
		found.Head.Revision, found.Head.Events)
	return nil
}

// isWrapped says whether the master key seems to be in the file that a service has encrypted.
func (r *restore) isWrapped() bool {
	if r.wrapped == "" {
		return false
	}
	_, err := os.Lstat(r.wrapped)
	return err == nil
}

// place moves the copy to its place, and a store that is there aside. The lock keeps a gateway from starting in between;
// one that waits for it finds out that the file is another one.
func (r *restore) place(path string) error {
	release, err := boltstore.Lock(r.store)
	if err != nil {
		return fmt.Errorf("%w: stop the gateway, restore, and start it again; nothing was changed", err)
	}
	_, err = os.Lstat(r.store)
	there := err == nil
	aside := r.store + "." + r.call.now().UTC().Format("20060102T150405Z")
	if there {
		err = errors.Join(moveAside(r.store, aside), release())
	} else {
		err = release()
	}
	if err != nil {
		return err
	}
	if there {
		r.report.MovedAside = &aside
		r.say("moved the store that was there to %s", clean(aside))
	}
	// A link, unlike a rename, does not replace a file that is there.
	if err := os.Link(path, r.store); err != nil {
		return fmt.Errorf("putting the store in place: %w", err)
	}
	r.report.Placed = true
	r.say("restored %s; start the gateway", clean(r.store))
	return syncDir(filepath.Dir(r.store))
}

func moveAside(from, to string) error {
	if err := os.Link(from, to); err != nil { // fails where there is a file of that name
		return err
	}
	return os.Remove(from)
}
