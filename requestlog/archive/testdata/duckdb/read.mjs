// Opens Parquet files with DuckDB and prints what it sees as JSON: the types of the columns, and some sums over them.
import { DuckDBInstance } from "@duckdb/node-api";

const instance = await DuckDBInstance.create(":memory:");
const connection = await instance.connect();
await connection.run("SET TimeZone = 'UTC'");

async function rows(sql) {
  const reader = await connection.runAndReadAll(sql);
  return reader.getRowObjectsJson();
}

for (const file of process.argv.slice(2)) {
  const from = `FROM read_parquet('${file.replaceAll("'", "''")}')`;
  const types = {};
  for (const column of await rows(`DESCRIBE SELECT * ${from}`)) {
    types[column.column_name] = column.column_type;
  }
  const [sums] = await rows(`SELECT count(*) AS requests, count(DISTINCT key) AS keys, sum(bytes_in) AS bytes_in,
    CAST(min(time) AS VARCHAR) AS first, CAST(max(time) AS VARCHAR) AS last, count(error_code) AS failed,
    count(*) FILTER (status >= 400) AS refused, count(sandbox) AS sandboxed ${from}`);
  const statuses = {};
  for (const row of await rows(`SELECT status, count(*) AS n ${from} GROUP BY status`)) {
    statuses[row.status] = row.n;
  }
  const [one] = await rows(`SELECT * ${from} WHERE key = 'key_7' ORDER BY time LIMIT 1`);
  const [blooms] = await rows(`SELECT count(bloom_filter_offset) AS n
    FROM parquet_metadata('${file.replaceAll("'", "''")}') WHERE path_in_schema IN ('id', 'key', 'account')`);
  console.log(JSON.stringify({ types, sums, statuses, one, blooms: blooms.n }));
}
