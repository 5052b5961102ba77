package snapshot

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// id is a key of a numbered database.
type id struct {
	db  int
	key string
}

// kinds are the numbers of miniredis' kinds in the file. They never change.
var kinds = []string{gone: "", 1: "string", 2: "hash", 3: "list", 4: "set", 5: "zset", 6: "stream", 7: "hll"}

const gone = 0 // the key does not exist

// record is a copy of what a key held at one moment. Strings and the values of stream entries are
// shared with miniredis, which never changes them.
type record struct {
	id
	kind     int
	deadline int64 // UNIX ms; 0 = none
	size     int   // elements

	text   string   // of a string or a hyperloglog
	list   []string // members of a list, set or sorted set; fields and values of a hash, in turn
	scores []float64
	fields []fieldDeadline
	stream *streamRecord
}

type fieldDeadline struct {
	field string
	at    int64 // UNIX ms
}

type streamRecord struct {
	last    string
	entries []miniredis.StreamEntry
	groups  []groupRecord
}

type groupRecord struct {
	name, last string
	consumers  []consumerRecord
	pending    []pending
}

type consumerRecord struct {
	name            string
	seen, succeeded time.Time
}

// copyKey copies what the key holds now. It needs the lock, so it only copies headers: to write them
// takes ten times as long.
func copyKey(all map[int]*database, k id, now time.Time) record {
	r := record{id: k, kind: gone, size: 1}
	d := all[k.db]
	if d == nil {
		return r
	}
	ttl, expires := d.ttl[k.key]
	if expires {
		if ttl <= 0 {
			return r
		}
		r.deadline = now.Add(ttl).UnixMilli()
	}
	r.kind = max(slices.Index(kinds, d.keys[k.key]), gone)
	switch kinds[r.kind] {
	case "string":
		r.text = d.stringKeys[k.key]
	case "hll":
		raw, _ := d.hllKeys[k.key].inner.MarshalBinary() // it has no error
		r.text = string(raw)
	case "hash":
		r.copyHash(d.hashKeys[k.key], d.hashTTLs[k.key], now)
	case "list":
		r.list = slices.Clone(d.listKeys[k.key])
	case "set":
		r.list = make([]string, 0, len(d.setKeys[k.key]))
		for v := range d.setKeys[k.key] {
			r.list = append(r.list, v)
		}
	case "zset":
		z := d.sortedsetKeys[k.key]
		r.list, r.scores = make([]string, 0, len(z)), make([]float64, 0, len(z))
		for v, score := range z {
			r.list, r.scores = append(r.list, v), append(r.scores, score)
		}
	case "stream":
		r.copyStream(d.streamKeys[k.key])
	}
	r.size += len(r.list)
	return r
}

func (r *record) copyHash(h map[string]string, ttls map[string]time.Duration, now time.Time) {
	r.list = make([]string, 0, 2*len(h))
	for f, v := range h {
		r.list = append(r.list, f, v)
	}
	for f, ttl := range ttls {
		r.fields = append(r.fields, fieldDeadline{f, now.Add(ttl).UnixMilli()})
	}
}

func (r *record) copyStream(s *stream) {
	c := &streamRecord{last: s.lastAllocatedID, entries: slices.Clone(s.entries)}
	r.size += len(s.entries)
	for name, g := range s.groups {
		of := groupRecord{name: name, last: g.lastID, pending: slices.Clone(g.pending)}
		for name, v := range g.consumers {
			of.consumers = append(of.consumers, consumerRecord{name, v.lastSeen, v.lastSuccess})
		}
		r.size += len(g.pending) + len(g.consumers)
		c.groups = append(c.groups, of)
	}
	r.stream = c
}

// append writes the record with its length before it.
func (r *record) append(b []byte) []byte {
	begin := len(b)
	b = append(b, 0, 0, 0, 0)
	b = putString(putInt(append(b, byte(r.kind)), int64(r.db)), r.key)
	if r.kind != gone {
		b = r.appendValue(putInt(b, r.deadline))
	}
	binary.LittleEndian.PutUint32(b[begin:], uint32(len(b)-begin-4))
	return b
}

func (r *record) appendValue(b []byte) []byte {
	switch kinds[r.kind] {
	case "string", "hll":
		return putString(b, r.text)
	case "stream":
		return r.stream.append(b)
	}
	b = putStrings(b, r.list)
	for _, score := range r.scores {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(score))
	}
	if kinds[r.kind] == "hash" {
		b = putInt(b, int64(len(r.fields)))
		for _, f := range r.fields {
			b = putInt(putString(b, f.field), f.at)
		}
	}
	return b
}

func (s *streamRecord) append(b []byte) []byte {
	b = putInt(putString(b, s.last), int64(len(s.entries)))
	for _, e := range s.entries {
		b = putStrings(putString(b, e.ID), e.Values)
	}
	b = putInt(b, int64(len(s.groups)))
	for _, g := range s.groups {
		b = putInt(putString(putString(b, g.name), g.last), int64(len(g.consumers)))
		for _, c := range g.consumers {
			b = putTime(putTime(putString(b, c.name), c.seen), c.succeeded)
		}
		b = putInt(b, int64(len(g.pending)))
		for _, p := range g.pending {
			b = putTime(putInt(putString(putString(b, p.id), p.consumer), int64(p.deliveryCount)), p.lastDelivery)
		}
	}
	return b
}

func putInt(b []byte, n int64) []byte { return binary.AppendVarint(b, n) }

func putString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func putStrings(b []byte, list []string) []byte {
	b = putInt(b, int64(len(list)))
	for _, s := range list {
		b = putString(b, s)
	}
	return b
}

func putTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return putInt(b, 0)
	}
	return putInt(b, t.UnixMilli())
}

// split cuts a payload into its records, without reading more of them than the key.
func split(b []byte, each func(k id, kind int, body []byte)) error {
	for len(b) > 0 {
		if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
			return errShort
		}
		n := 4 + int(binary.LittleEndian.Uint32(b))
		r := &reader{b: b[4:n]}
		kind := int(r.byte())
		k := id{int(r.int()), r.string()}
		if r.err != nil {
			return r.err
		}
		each(k, kind, b[4:n])
		b = b[n:]
	}
	return nil
}

// parseRecord reads what append wrote, without the length.
func parseRecord(b []byte) (record, error) {
	p := &reader{b: b}
	r := record{kind: int(p.byte())}
	r.db, r.key = int(p.int()), p.string()
	if r.kind >= len(kinds) {
		return r, fmt.Errorf("a record of kind %d", r.kind)
	}
	if r.kind != gone {
		r.deadline = p.int()
		r.parseValue(p)
	}
	if p.err == nil && len(p.b) > 0 {
		p.err = fmt.Errorf("%d bytes behind a record", len(p.b))
	}
	return r, p.err
}

func (r *record) parseValue(p *reader) {
	switch kinds[r.kind] {
	case "string", "hll":
		r.text = p.string()
		return
	case "stream":
		r.stream = parseStream(p)
		return
	}
	r.list = p.strings()
	switch kinds[r.kind] {
	case "zset":
		for range r.list {
			r.scores = append(r.scores, p.float())
		}
	case "hash":
		for n := p.count(); n > 0 && p.err == nil; n-- {
			r.fields = append(r.fields, fieldDeadline{p.string(), p.int()})
		}
	}
}

func parseStream(p *reader) *streamRecord {
	s := &streamRecord{last: p.string()}
	for n := p.count(); n > 0 && p.err == nil; n-- {
		s.entries = append(s.entries, miniredis.StreamEntry{ID: p.string(), Values: p.strings()})
	}
	for n := p.count(); n > 0 && p.err == nil; n-- {
		g := groupRecord{name: p.string(), last: p.string()}
		for n := p.count(); n > 0 && p.err == nil; n-- {
			g.consumers = append(g.consumers, consumerRecord{p.string(), p.time(), p.time()})
		}
		for n := p.count(); n > 0 && p.err == nil; n-- {
			g.pending = append(g.pending, pending{p.string(), p.string(), int(p.int()), p.time()})
		}
		s.groups = append(s.groups, g)
	}
	return s
}

// reader reads values one after the other. Its first error stays; what is read after it is zero.
type reader struct {
	b   []byte
	err error
}

var errShort = errors.New("a record is cut")

func (r *reader) fail() { r.err, r.b = cmp.Or(r.err, errShort), nil }

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) int() int64 {
	n, w := binary.Varint(r.b)
	if w <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[w:]
	return n
}

func (r *reader) string() string {
	n, w := binary.Uvarint(r.b)
	if w <= 0 || n > uint64(len(r.b)-w) {
		r.fail()
		return ""
	}
	s := string(r.b[w : w+int(n)])
	r.b = r.b[w+int(n):]
	return s
}

// count reads how many elements follow. A number that the rest cannot hold allocates nothing.
func (r *reader) count() int {
	n := r.int()
	if n < 0 || n > int64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) strings() []string {
	n := r.count()
	list := make([]string, 0, n)
	for ; n > 0 && r.err == nil; n-- {
		list = append(list, r.string())
	}
	return list
}

func (r *reader) float() float64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	f := math.Float64frombits(binary.LittleEndian.Uint64(r.b))
	r.b = r.b[8:]
	return f
}

func (r *reader) time() time.Time {
	if n := r.int(); n != 0 {
		return time.UnixMilli(n)
	}
	return time.Time{}
}
