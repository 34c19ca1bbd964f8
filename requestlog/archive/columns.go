package archive

import (
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/keystile/keystile/requestlog"
)

// The Parquet columns follow the schema of package requestlog, in its order and under its names: what that table says is all
// that is known of a column here, but for how its values are best packed.

// zstdCodec is the compression of the columns of many or long texts.
var zstdCodec = &zstd.Codec{Level: zstd.SpeedFastest}

// bloomColumns have a bloom filter in each row group: a query for one of their values skips what does not hold it.
var bloomColumns = [...]string{"id", "key", "account"}

// bloomBits is how many bits of a bloom filter each value takes: about one false hit in a hundred.
const bloomBits = 10

// variedColumns have so many different values that a dictionary would only have to be read whole for each of them; so have texts
// that may be longer than maxDictionaryText.
var variedColumns = []string{"path", "target", "idempotency_key"}

const maxDictionaryText = 4096

// plainColumns have so few different texts that their dictionaries are a few hundred bytes: taking those and the numbers of a few bits
// that refer to them apart costs a query more than reading what compression would save.
var plainColumns = []string{
	"method", "decision", "required_permission", "kind", "mode", "resource", "access", "api_version", "upstream", "node", "tls",
	"protocol", "error_type", "error_code",
}

// codec says how the pages of a column are compressed. Integers are packed to the bits that they need already.
func codec(c *requestlog.Column) compress.Codec {
	if !c.IsText() || slices.Contains(plainColumns, c.Name) {
		return &parquet.Uncompressed
	}
	return zstdCodec
}

// packing says how the values of a column are encoded.
func packing(c *requestlog.Column) parquet.Node {
	switch {
	case c.Name == "id": // sorted, with long common beginnings
		return parquet.Encoded(parquet.String(), &parquet.DeltaByteArray)
	case c.Name == "status":
		return parquet.Encoded(parquet.Int(64), &parquet.RLEDictionary)
	case slices.Contains(variedColumns, c.Name) || c.MaxBytes > maxDictionaryText:
		return parquet.Encoded(parquet.String(), &parquet.Plain)
	case c.IsText():
		return parquet.Encoded(parquet.String(), &parquet.RLEDictionary)
	case c.Kind == requestlog.ColumnTime:
		return parquet.Encoded(parquet.Timestamp(parquet.Millisecond), &parquet.DeltaBinaryPacked)
	case c.Kind == requestlog.ColumnBool:
		return parquet.Leaf(parquet.BooleanType)
	}
	return parquet.Encoded(parquet.Int(64), &parquet.DeltaBinaryPacked)
}

// recordSchema makes the Parquet schema of the columns.
func recordSchema(columns []requestlog.Column) *parquet.Schema {
	nodes := make(parquet.Group, len(columns))
	place := make(map[string]int, len(columns))
	for i := range columns {
		c := &columns[i]
		node := parquet.Compressed(packing(c), codec(c))
		if c.Optional() {
			node = parquet.Optional(node)
		}
		nodes[c.Name], place[c.Name] = node, i
	}
	fields := nodes.Fields()
	slices.SortFunc(fields, func(a, b parquet.Field) int { return place[a.Name()] - place[b.Name()] })
	return parquet.NewSchema("request_record", ordered{nodes, fields})
}

// ordered is a group whose fields stand in an order of our own: the library's stand in that of the alphabet.
type ordered struct {
	parquet.Group
	fields []parquet.Field
}

// Fields lists the fields in their order.
func (o ordered) Fields() []parquet.Field { return o.fields }
