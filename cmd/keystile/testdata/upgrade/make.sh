#!/usr/bin/env bash
# Makes a data directory as an older version leaves it, for TestUpgradeFromAnOlderVersion: ./make.sh COMMIT
# The version is built from the history of this repository. What it wrote stays as it is: do not make it anew, add another.
set -euo pipefail
commit=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'kill "${gateway:-}" 2>/dev/null || true; rm -rf "$work"' EXIT

if [ -z "${KEYSTILE_OLD:-}" ]; then
	mkdir "$work/source"
	git -C "$here" archive "$(git -C "$here" rev-parse "$commit^{tree}")" --format=tar | tar x -C "$work/source"
	(cd "$work/source" && CGO_ENABLED=0 go build -buildvcs=false -o "$work/keystile" ./cmd/keystile)
	KEYSTILE_OLD=$work/keystile
fi
home=$work/home
mkdir -p "$home"
export HOME=$home XDG_DATA_HOME=$home/data XDG_CONFIG_HOME=$home/config CADDY_ADMIN=127.0.0.1:20190
cat > "$home/Caddyfile" <<CONFIG
{
	admin $CADDY_ADMIN
	persist_config off
	keystile {
		catalog {
			resource customers {
				read GET /v1/customers /v1/customers/*
				write POST /v1/customers /v1/customers/*
			}
		}
	}
}
http://:20191 {
	bind 127.0.0.1
	keystile
	respond ok
}
CONFIG
api() { curl -fsS -X "$1" "http://$CADDY_ADMIN/keystile/v1/$2" ${3:+-H 'Content-Type: application/json' -d "$3"}; }
field() { python3 -c 'import json,sys; v=json.load(sys.stdin)
for name in sys.argv[1].split("."): v=v[int(name) if name.isdigit() else name]
print(v)' "$1"; }
start() {
	"$KEYSTILE_OLD" run --config "$home/Caddyfile" --adapter caddyfile > "$work/out" 2>&1 &
	gateway=$!
	for _ in $(seq 300); do
		if curl -fsS "http://$CADDY_ADMIN/keystile/v1/accounts" > /dev/null 2>&1; then return; fi
		sleep 0.1
	done
	cat "$work/out" >&2
	exit 1
}
stop() { "$KEYSTILE_OLD" stop > /dev/null 2>&1 || kill "$gateway"; wait "$gateway" || true; }
ask() { curl -sS -o /dev/null -H "Authorization: Bearer $1" "http://127.0.0.1:20191/v1/customers/$2"; }

start
organization=$(api POST organizations '{"name":"Group"}' | field id)
account=$(api POST accounts "{\"name\":\"Shop\",\"organization\":\"$organization\"}" | field id)
make() { api POST keys "{\"mode\":\"live\",\"account\":\"$account\",$1}"; }
make '"kind":"secret","name":"server"' > "$work/secret"
make '"kind":"restricted","name":"reader","permissions":{"customers":"read"},"ip_ranges":["127.0.0.1"]' > "$work/restricted"
make '"kind":"secret","name":"gone"' > "$work/gone"
api POST keys "{\"mode\":\"live\",\"kind\":\"organization\",\"organization\":\"$organization\",\"name\":\"all\"}" > "$work/organization"
sandbox=$(api GET "keys?account=$account&kind=secret&mode=sandbox" | field data.0.id)
api POST "keys/$sandbox/reveal" '{}' > "$work/sandbox"
api DELETE "keys/$(field id < "$work/gone")" > /dev/null
for n in $(seq 40); do ask "$(field token < "$work/secret")" "$n"; done
stop
start # the journal of before becomes Parquet
"$KEYSTILE_OLD" backup "$home/backup.tar"
make '"kind":"secret","name":"later"' > "$work/later" # is not in the backup
for n in $(seq 20); do ask "$(field token < "$work/restricted")" "$n"; done
ask "$(field token < "$work/gone")" 1
for _ in $(seq 100); do ls "$XDG_DATA_HOME"/caddy/keystile/requests/*.parquet > /dev/null 2>&1 && break; sleep 0.1; done
stop
python3 - "$work" "$account" "$organization" > "$home/made.json" <<'PYTHON'
import json, sys
work, account, organization = sys.argv[1:]
keys = {name: {f: k[f] for f in ("id", "token")} for name in ("secret", "restricted", "gone", "organization", "sandbox", "later")
        for k in [json.load(open(f"{work}/{name}"))]}
json.dump({"account": account, "organization": organization, "keys": keys}, sys.stdout, indent="\t")
PYTHON
find "$XDG_DATA_HOME" -name 'lock' -delete
tar czf "$here/$(git -C "$here" rev-parse --short=7 "$commit").tar.gz" -C "$home" data/caddy/keystile backup.tar made.json
