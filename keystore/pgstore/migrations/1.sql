-- The first tables. One row says how far the tables are, one holds the head. Only what PostgreSQL-compatible engines have
-- in common is used.

CREATE TABLE keystile_schema (
	one     boolean PRIMARY KEY DEFAULT true CHECK (one),
	version integer NOT NULL
);

-- The head is the order of everything: each commit reads and writes it, so that of two commits on one head one fails.
-- A sequence would hand out numbers before it is known which commit comes first, or comes at all.
CREATE TABLE keystile_head (
	one      boolean PRIMARY KEY DEFAULT true CHECK (one),
	revision bigint NOT NULL,
	events   bigint NOT NULL,
	hash     bytea  NOT NULL
);

-- Who has locked this row has the turn to commit.
CREATE TABLE keystile_turn (one boolean PRIMARY KEY DEFAULT true CHECK (one));
INSERT INTO keystile_turn (one) VALUES (true);

-- A row of another revision than its own stage's is of a later commit. A removed row stays, without data: those who
-- follow the changes must learn of it.
CREATE TABLE keystile_rows (
	tbl      smallint NOT NULL,
	id       text     NOT NULL,
	data     bytea,
	revision bigint   NOT NULL,
	stage    text,
	PRIMARY KEY (tbl, id)
);
CREATE INDEX keystile_rows_revision ON keystile_rows (revision);
CREATE INDEX keystile_rows_stage ON keystile_rows (stage) WHERE stage IS NOT NULL;

-- A stage without a revision is not part of the store yet, and its rows are not.
CREATE TABLE keystile_stages (
	id       text PRIMARY KEY,
	revision bigint,
	touched  timestamptz NOT NULL
);

CREATE TABLE keystile_events (
	seq  bigint PRIMARY KEY,
	body bytea NOT NULL
);

CREATE TABLE keystile_usage (
	id      text PRIMARY KEY,
	at      bigint NOT NULL, -- milliseconds since 1970
	address text NOT NULL
);
CREATE INDEX keystile_usage_at ON keystile_usage (at);

CREATE TABLE keystile_meta (
	name  text PRIMARY KEY,
	value bytea NOT NULL
);

CREATE TABLE keystile_kept (
	id      text PRIMARY KEY,
	expires bigint NOT NULL, -- milliseconds since 1970
	data    bytea NOT NULL
);
CREATE INDEX keystile_kept_expires ON keystile_kept (expires);

CREATE TABLE keystile_nodes (
	id            text PRIMARY KEY,
	version       text NOT NULL,
	started       bigint NOT NULL, -- milliseconds since 1970
	revision      bigint NOT NULL,
	max_staleness bigint NOT NULL, -- milliseconds
	seen          timestamptz NOT NULL
);

INSERT INTO keystile_head (revision, events, hash)
VALUES (0, 0, decode('0000000000000000000000000000000000000000000000000000000000000000', 'hex'));
