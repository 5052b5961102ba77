package snapshot

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
	"wsframe/library/packed"

	"github.com/alicebob/miniredis/v2"
)

// id is a key of a numbered database.
type id struct {
	db  int
	key string
}

// kinds lists miniredis' kinds by their numbers in the file, which never change.
var kinds = []string{gone: "", 1: "string", 2: "hash", 3: "list", 4: "set", 5: "zset", 6: "stream", 7: "hll"}

const gone = 0 // the key does not exist

// record is a copy of a key's value at one moment. Strings and the values of stream entries are
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

// copyKey copies the current value of a key. It needs the lock, so it only copies headers: to write
// them takes ten times as long.
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

// append appends the length of the record, then the record.
func (r *record) append(b []byte) []byte {
	begin := len(b)
	b = append(b, 0, 0, 0, 0)
	b = packed.AppendText(binary.AppendVarint(append(b, byte(r.kind)), int64(r.db)), r.key)
	if r.kind != gone {
		b = r.appendValue(binary.AppendVarint(b, r.deadline))
	}
	binary.LittleEndian.PutUint32(b[begin:], uint32(len(b)-begin-4))
	return b
}

func (r *record) appendValue(b []byte) []byte {
	switch kinds[r.kind] {
	case "string", "hll":
		return packed.AppendText(b, r.text)
	case "stream":
		return r.stream.append(b)
	}
	b = packed.AppendTexts(b, r.list)
	for _, score := range r.scores {
		b = packed.AppendFloat(b, score)
	}
	if kinds[r.kind] == "hash" {
		b = binary.AppendUvarint(b, uint64(len(r.fields)))
		for _, f := range r.fields {
			b = binary.AppendVarint(packed.AppendText(b, f.field), f.at)
		}
	}
	return b
}

func (s *streamRecord) append(b []byte) []byte {
	b = binary.AppendUvarint(packed.AppendText(b, s.last), uint64(len(s.entries)))
	for _, e := range s.entries {
		b = packed.AppendTexts(packed.AppendText(b, e.ID), e.Values)
	}
	b = binary.AppendUvarint(b, uint64(len(s.groups)))
	for _, g := range s.groups {
		b = binary.AppendUvarint(packed.AppendText(packed.AppendText(b, g.name), g.last), uint64(len(g.consumers)))
		for _, c := range g.consumers {
			b = appendTime(appendTime(packed.AppendText(b, c.name), c.seen), c.succeeded)
		}
		b = binary.AppendUvarint(b, uint64(len(g.pending)))
		for _, p := range g.pending {
			b = appendTime(binary.AppendVarint(packed.AppendText(packed.AppendText(b, p.id), p.consumer), int64(p.deliveryCount)), p.lastDelivery)
		}
	}
	return b
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.AppendVarint(b, 0)
	}
	return binary.AppendVarint(b, t.UnixMilli())
}

// split calls each with the records of a payload. It reads only their kinds and keys.
func split(b []byte, each func(k id, kind int, body []byte)) error {
	for len(b) > 0 {
		if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
			return packed.ErrShort
		}
		n := 4 + int(binary.LittleEndian.Uint32(b))
		r := packed.NewReader(b[4:n])
		kind := int(r.Byte())
		k := id{int(r.Int()), r.Text()}
		if err := r.Err(); err != nil {
			return err
		}
		each(k, kind, b[4:n])
		b = b[n:]
	}
	return nil
}

// parseRecord decodes a record without its length.
func parseRecord(b []byte) (record, error) {
	p := packed.NewReader(b)
	r := record{kind: int(p.Byte())}
	r.db, r.key = int(p.Int()), p.Text()
	if r.kind >= len(kinds) {
		return r, fmt.Errorf("a record of kind %d", r.kind)
	}
	if r.kind != gone {
		r.deadline = p.Int()
		r.parseValue(&p)
	}
	return r, p.End()
}

func (r *record) parseValue(p *packed.Reader) {
	switch kinds[r.kind] {
	case "string", "hll":
		r.text = p.Text()
		return
	case "stream":
		r.stream = parseStream(p)
		return
	}
	r.list = p.Texts()
	switch kinds[r.kind] {
	case "zset":
		for range r.list {
			r.scores = append(r.scores, p.Float())
		}
	case "hash":
		for n := p.Size(); n > 0 && p.Err() == nil; n-- {
			r.fields = append(r.fields, fieldDeadline{p.Text(), p.Int()})
		}
	}
}

func parseStream(p *packed.Reader) *streamRecord {
	s := &streamRecord{last: p.Text()}
	for n := p.Size(); n > 0 && p.Err() == nil; n-- {
		s.entries = append(s.entries, miniredis.StreamEntry{ID: p.Text(), Values: p.Texts()})
	}
	for n := p.Size(); n > 0 && p.Err() == nil; n-- {
		g := groupRecord{name: p.Text(), last: p.Text()}
		for n := p.Size(); n > 0 && p.Err() == nil; n-- {
			g.consumers = append(g.consumers, consumerRecord{p.Text(), parseTime(p), parseTime(p)})
		}
		for n := p.Size(); n > 0 && p.Err() == nil; n-- {
			g.pending = append(g.pending, pending{p.Text(), p.Text(), int(p.Int()), parseTime(p)})
		}
		s.groups = append(s.groups, g)
	}
	return s
}

func parseTime(p *packed.Reader) time.Time {
	if n := p.Int(); n != 0 {
		return time.UnixMilli(n)
	}
	return time.Time{}
}
