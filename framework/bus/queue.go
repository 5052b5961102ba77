package bus

import (
	"slices"
	"time"
)

// maxCall bounds the bytes of one call's messages, unless one alone is larger.
const maxCall = 256 << 10

// item is a message that is being sent.
type item struct {
	Message
	number    int64      // of this sender in this shard; 0 = it does not go to Redis
	lane      int        // of the message
	before    int64      // number of the sender's message before it in the lane; 0 = there is none
	done      chan error // of Put's caller, with room for the outcome; nil = nobody waits
	trying    bool       // Redis may have it; guarded by shard.mu
	counted   bool       // it is in queue.keeping
	delivered bool       // given to Receive by the writer
	refused   bool       // counted as lost
	written   time.Time  // when Redis accepted it
}

// finish notifies Put's caller. It is called once, when the message leaves the queue.
func (it *item) finish() {
	if it.done == nil {
		return
	}
	var err error
	if it.refused {
		err = ErrNotTaken
	}
	it.done <- err
}

// queue holds the messages that wait to be written to one stream, oldest first, and numbers them.
// The caller holds shard.mu.
type queue struct {
	sender *sender
	items  []*item
	next   int64   // the number of the next message
	newest []int64 // the newest number of each lane; 0 = none

	pushed, popped int64     // how many messages came, and how many went
	last           time.Time // when the newest came

	keeping map[string]int // by key, of a sender that is alone: messages from the first kept one on
	stated  int            // how many of the items are in the state of a Suspend
	waiters []waiter
}

// waiter is a channel that is closed when that many messages have gone.
type waiter struct {
	popped int64
	done   chan struct{}
}

// push appends a message and gives it its number.
func (q *queue) push(it *item) {
	it.From = q.sender.Token()
	q.number(it)
	q.append(it)
	q.last = time.Now()
}

// number numbers a message that goes to Redis.
func (q *queue) number(it *item) {
	if !q.sender.direct() || it.placed() {
		it.number, it.before = q.next, q.newest[it.lane]
		q.newest[it.lane] = it.number
		q.next++
	}
}

func (q *queue) append(it *item) {
	q.items = append(q.items, it)
	q.pushed++
	if q.sender.alone && (it.kept() || q.keeping[it.Key] > 0) {
		if q.keeping == nil {
			q.keeping = map[string]int{}
		}
		q.keeping[it.Key]++
		it.counted = true
	}
}

// pop removes the oldest messages, which are done, and returns their size.
func (q *queue) pop(items []*item) (bytes int64) {
	for _, it := range items {
		bytes += int64(it.size()) // a withdrawn one has become smaller
		it.finish()
		if it.counted {
			if q.keeping[it.Key]--; q.keeping[it.Key] == 0 {
				delete(q.keeping, it.Key)
			}
		}
	}
	clear(q.items[:len(items)])
	q.items = q.items[len(items):]
	if len(q.items) == 0 {
		q.items = nil
	}
	q.popped += int64(len(items))
	q.notify()
	return bytes
}

// notify closes the channels of those whose messages have gone.
func (q *queue) notify() {
	q.waiters = slices.DeleteFunc(q.waiters, func(w waiter) bool {
		gone := q.popped >= w.popped
		if gone {
			close(w.done)
		}
		return gone
	})
}

// written returns a channel that is closed as soon as everything pushed before has gone.
func (q *queue) written() <-chan struct{} {
	w := waiter{q.pushed, make(chan struct{})}
	q.waiters = append(q.waiters, w)
	q.notify()
	return w.done
}

// detach removes what is in the state of a Suspend and numbers the rest anew, for the sender's new
// token. It returns how much was removed.
func (q *queue) detach() (messages, bytes int64) {
	messages = int64(q.stated)
	for _, it := range q.items[:q.stated] {
		bytes += int64(it.size())
	}
	q.items, q.keeping = append([]*item(nil), q.items[q.stated:]...), nil
	q.popped += messages
	q.notify()
	q.stated, q.next = 0, 1
	clear(q.newest)
	for _, it := range q.items {
		it.From, it.number, it.before, it.counted = q.sender.Token(), q.next, q.newest[it.lane], false
		q.newest[it.lane] = it.number
		q.next++
	}
	return messages, bytes
}

// head returns the oldest messages of a list for one call: at most n of them, and about maxCall
// bytes.
func head(list []*item, n int) []*item {
	bytes := 0
	for i, it := range list {
		bytes += it.size()
		if i == n || i > 0 && bytes > maxCall {
			return list[:i:i]
		}
	}
	return list[:len(list):len(list)]
}
