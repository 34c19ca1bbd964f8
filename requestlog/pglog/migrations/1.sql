-- The first tables. One row says how far the tables are.

CREATE TABLE keystile_log_schema (
	one     boolean PRIMARY KEY DEFAULT true CHECK (one),
	version integer NOT NULL
);

-- The records, a partition for each day. id is a record's id behind its prefix: it begins with the time, so that records, days
-- and lists have one order. gap tells the prefix. What a record lacks is null.
CREATE TABLE keystile_log_records (
	id                  text COLLATE "C" NOT NULL,
	time                bigint NOT NULL, -- milliseconds since 1970, as all times
	duration_us         bigint NOT NULL,
	upstream_us         bigint NOT NULL,
	bytes_in            bigint NOT NULL,
	bytes_out           bigint NOT NULL,
	status              integer NOT NULL,
	gap                 boolean NOT NULL,
	successor_used      boolean,
	decision            text NOT NULL,
	method              text,
	path                text,
	target              text,
	query               text,
	host                text,
	required_permission text,
	key                 text COLLATE "C",
	token_masked        text,
	kind                text,
	mode                text,
	sandbox             text,
	owner               text COLLATE "C",
	account             text COLLATE "C",
	resource            text,
	access              text,
	client_address      inet,
	user_agent          text,
	api_version         text,
	idempotency_key     text,
	upstream            text,
	node                text,
	tls                 text,
	protocol            text,
	error_type          text,
	error_code          text,
	error_message       text,
	lost                bigint,
	lost_from           bigint,
	lost_to             bigint,
	request_headers     text,
	response_headers    text,
	request_body        text,
	response_body       text,
	PRIMARY KEY (id)
) PARTITION BY RANGE (id);

-- Who asks for a key or an account asks for its newest records. Most records' owner is their account, and found by it.
CREATE INDEX keystile_log_records_key ON keystile_log_records (key, id) WHERE key IS NOT NULL;
CREATE INDEX keystile_log_records_account ON keystile_log_records (account, id) WHERE account IS NOT NULL;
CREATE INDEX keystile_log_records_owner ON keystile_log_records (owner, id) WHERE owner IS DISTINCT FROM account AND owner IS NOT NULL;
-- Of all others, those that went wrong are looked for; they are few.
CREATE INDEX keystile_log_records_errors ON keystile_log_records (id) WHERE status >= 400;

-- The partitions. skew is by how many milliseconds the time of a record and the time in its id differ at most: ids run on where
-- a clock steps back.
CREATE TABLE keystile_log_days (
	day     integer PRIMARY KEY, -- days since 1970
	made    timestamptz NOT NULL,
	records bigint NOT NULL DEFAULT 0,
	skew    bigint NOT NULL DEFAULT 0
);

-- Who has locked this row may make and drop partitions.
CREATE TABLE keystile_log_turn (one boolean PRIMARY KEY DEFAULT true CHECK (one));
INSERT INTO keystile_log_turn (one) VALUES (true);

-- The head is the order of the batches: each one reads and writes it as the last thing before its commit, so that a batch that can be
-- seen has all before it in sight. A sequence would hand out numbers before it is known which commit comes first.
CREATE TABLE keystile_log_head (
	one     boolean PRIMARY KEY DEFAULT true CHECK (one),
	seq     bigint NOT NULL,
	records bigint NOT NULL
);
INSERT INTO keystile_log_head (seq, records) VALUES (0, 0);

-- The newest batches, for those who follow. ids are 20 bytes for each record: r or g, and the id.
CREATE TABLE keystile_log_batches (
	seq     bigint PRIMARY KEY,
	records bigint NOT NULL, -- of all batches up to this one
	made    timestamptz NOT NULL,
	node    text NOT NULL,
	ids     bytea NOT NULL
);

-- How many records came in each minute. Each node has rows of its own, so that none waits for another.
CREATE TABLE keystile_log_counts (
	day    integer NOT NULL,
	minute bigint NOT NULL, -- since 1970
	kind   text NOT NULL, -- status, resource or decision
	value  text NOT NULL,
	node   text NOT NULL,
	n      bigint NOT NULL,
	PRIMARY KEY (day, minute, kind, value, node)
);
