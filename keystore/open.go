package keystore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-memdb"
	"go.uber.org/zap"
)

// Open loads everything from the backend into memory and is then ready for look-ups. The store owns the backend from here
// on and closes it, also if Open fails. The master key file is made if the backend is new and the file does not exist.
func Open(ctx context.Context, o Options) (*Store, error) {
	if err := o.complete(); err != nil {
		if o.Backend != nil {
			err = errors.Join(err, o.Backend.Close())
		}
		return nil, err
	}
	s, err := open(ctx, &o)
	if err != nil {
		return nil, errors.Join(err, o.Backend.Close())
	}
	go s.work()
	go s.foldKeys()
	if s.shared != nil {
		s.startNode()
	}
	return s, nil
}

func open(ctx context.Context, o *Options) (*Store, error) {
	db, err := memdb.NewMemDB(schema())
	if err != nil {
		return nil, fmt.Errorf("opening the key store: %w", err)
	}
	s := &Store{
		backend:   o.Backend,
		master:    o.MasterKey,
		logger:    o.Logger,
		now:       o.Now,
		db:        db,
		directory: newDirectory(),
		stop:      make(chan struct{}),
		done:      make(chan struct{}),
		folding:   make(chan struct{}, 1),
		folded:    make(chan struct{}),
		due:       make(chan struct{}, 1),
		ids:       idMaker{rand: o.Rand},
		tokens:    tokenMaker{rand: o.Rand},
		intern:    newInterner(),
	}
	s.rules.Store(&rules{resources: o.Resources, ipv6Ranges: o.IPv6Ranges})
	s.share(o)
	started := time.Now()
	if err := o.Backend.Unstage(ctx, ""); err != nil { // of an import that a crash has cut off; nobody sees it, it only takes room
		o.Logger.Warn("removing what an unfinished import has left behind", zap.Error(err))
	}
	found, err := s.load(ctx)
	s.met.Store(err == nil)
	if errors.Is(err, ErrAway) && s.copy != nil {
		found, err = s.loadCopy(err)
	}
	if err == nil && s.met.Load() {
		err = s.checkNewest(ctx, s.head) // a store whose trail was cut or edited at its end does not start
	}
	if err == nil && s.shared != nil && s.met.Load() {
		err = s.join(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("loading the key store: %w", err)
	}
	sealed, err := s.sealedSecret(ctx, found.sealed)
	if err != nil {
		return nil, fmt.Errorf("loading the key store: %w", err)
	}
	if s.seal, err = openSealer(ctx, o, s.meta, sealed); err != nil {
		return nil, err
	}
	s.watchClock(o)
	if err := s.loadAnswers(ctx); err != nil {
		return nil, fmt.Errorf("loading the key store: %w", err)
	}
	s.tellKeyset(ctx)
	cache, err := newHot(o.CacheEntries)
	if err != nil {
		return nil, err
	}
	s.hot.Store(cache)
	s.logger.Info("opened the key store",
		zap.Int("keys", found.keys), zap.Int("accounts", len(found.accounts)),
		zap.Uint64("revision", s.head.Revision), zap.Duration("took", time.Since(started)))
	return s, nil
}

// loaded is what a load found beside the rows.
type loaded struct {
	keys     int
	accounts []*Account
	sealed   string // id of a key whose token is sealed, or of a webhook endpoint or a member; "": there is none
}

// loadRow puts one row that is no key into memory.
func (s *Store) loadRow(txn *memdb.Txn, r Row, found *loaded) error {
	s.ids.seen(r.ID)
	switch r.Table {
	case TableOrganization:
		o, err := decodeOrganization(r.ID, r.Data)
		if err != nil {
			return err
		}
		return txn.Insert(tableOrganizations, o)
	case TableAccount:
		a, err := decodeAccount(s.intern, r.ID, r.Data)
		if err != nil {
			return err
		}
		found.accounts = append(found.accounts, a)
		return txn.Insert(tableAccounts, a)
	case TableSandbox:
		b, err := decodeSandbox(s.intern, r.ID, r.Data)
		if err != nil {
			return err
		}
		return txn.Insert(tableSandboxes, b)
	case TableAdminToken:
		t, err := decodeAdminToken(r.ID, r.Data)
		if err != nil {
			return err
		}
		return txn.Insert(tableAdminTokens, t)
	case TableWebhook:
		w, err := decodeWebhook(r.ID, r.Data)
		if err != nil {
			return err
		}
		found.sealed = w.ID
		return txn.Insert(tableWebhooks, w)
	case TableMember:
		m, err := decodeMember(r.ID, r.Data)
		if err != nil {
			return err
		}
		if m.sealed != "" {
			found.sealed = m.ID
		}
		return txn.Insert(tableMembers, m)
	case TableSession:
		session, err := decodeSession(r.ID, r.Data)
		if err != nil {
			return err
		}
		return txn.Insert(tableSessions, session)
	}
	return errors.New("written by a newer version of the program")
}

// work does what needs no caller until Close: it saves the usage, and it settles a commit whose outcome is unknown.
func (s *Store) work() {
	defer close(s.done)
	save, settle := time.NewTicker(usageInterval), time.NewTicker(time.Second)
	defer save.Stop()
	defer settle.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-save.C:
			s.dropAnswers()
			ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
			if err := s.saveUsage(ctx); err != nil {
				s.logger.Warn("saving when keys were last used", zap.Error(err))
			}
			s.refreshUsage(ctx)
			s.followKeyset(ctx)
			cancel()
		case <-settle.C:
			s.settle()
		}
	}
}

func (s *Store) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == nil || s.closed {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	_ = s.settleLocked(ctx) // it logs; the next tick tries again
}
