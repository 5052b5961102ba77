package bus

import "time"

// A silent sender is forgotten after originTime, where there are maxOrigins.
const originTime, maxOrigins = 2 * time.Hour, 4096

// progress is how far one stream was read, and which message of each sender came last. The reader
// changes it under shard.mu, and reads it without; others hold shard.mu.
type progress struct {
	position id     // everything that is read was read up to it
	floor    id     // nothing up to it is ever read
	lanes    []lane // the first one is of messages that all nodes read
}

// lane is how far the messages of one lane were read. An entry with an id up to since belongs to
// a time in which the lane was not read.
type lane struct {
	read    bool
	since   id
	origins map[string]*origin
}

// origin is how far one sender's messages were read.
type origin struct {
	number int64
	at     id // its entry; zero = the previous process has read it
	seen   time.Time
}

func newProgress(lanes int) progress {
	p := progress{lanes: make([]lane, lanes+1)}
	p.begin(0, id{})
	return p
}

// begin has a lane be read, after since.
func (p *progress) begin(at int, since id) {
	p.lanes[at] = lane{read: true, since: since, origins: map[string]*origin{}}
}

// has reports whether message number of that sender, which all nodes read, has been read. So has
// then what the sender sent before, as far as it is read.
func (p *progress) has(token string, number int64) bool {
	from := p.lanes[0].origins[token]
	return from != nil && from.number >= number
}

// note adds an entry that was read: message number of that sender.
func (l *lane) note(at id, token string, number int64) {
	from := l.origins[token]
	if from == nil {
		l.tidy()
		from = &origin{}
		l.origins[token] = from
	}
	from.number, from.at, from.seen = number, at, time.Now()
}

func (l *lane) tidy() {
	if len(l.origins) < maxOrigins {
		return
	}
	for token, from := range l.origins {
		if time.Since(from.seen) > originTime {
			delete(l.origins, token)
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
