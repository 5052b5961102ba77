package bus

import "time"

// A silent sender is forgotten after originTime, where there are maxOrigins.
const originTime, maxOrigins = 2 * time.Hour, 4096

// progress is how far one stream was read, and which message of each sender came last. The reader
// changes it under shard.mu, and reads it without; others hold shard.mu.
type progress struct {
	position id // of the last entry that was read
	floor    id // nothing up to it is ever read
	origins  map[string]*origin
}

// origin is how far one sender's messages were read.
type origin struct {
	number int64
	at     id // its entry; zero = the previous process has read it
	seen   time.Time
}

// note adds an entry that was read: message number of that sender.
func (p *progress) note(at id, token string, number int64) {
	p.position = at
	from := p.origins[token]
	if from == nil {
		p.tidy()
		from = &origin{}
		p.origins[token] = from
	}
	from.number, from.at, from.seen = number, at, time.Now()
}

// has reports whether message number of that sender has been read.
func (p *progress) has(token string, number int64) bool {
	from := p.origins[token]
	return from != nil && from.number >= number
}

func (p *progress) tidy() {
	if len(p.origins) < maxOrigins {
		return
	}
	for token, from := range p.origins {
		if time.Since(from.seen) > originTime {
			delete(p.origins, token)
		}
	}
}

// bypass knows which of this sender's messages its caller has delivered here itself, since Redis
// was not available: they are not delivered again when they come by the stream. The caller holds
// shard.mu.
type bypass struct {
	numbers map[int64]bool
	begun   int64 // the newest own message whose delivery from the stream has begun
}

// add has a message bypass the stream.
func (b *bypass) add(number int64) {
	if b.numbers == nil {
		b.numbers = map[int64]bool{}
	}
	b.numbers[number] = true
}

// begin notes that an own message has come by the stream. It reports whether that is to be
// delivered.
func (b *bypass) begin(number int64) bool {
	b.begun = number
	bypassed := b.numbers[number]
	delete(b.numbers, number)
	return !bypassed
}
