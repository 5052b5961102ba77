package cluster

const (
	buckets = 256 // of a roster

	// share is how many connections a heal compares in full, at most a sixteenth of the buckets:
	// few connections take their turn every 16 heals, 100,000 every 256.
	share = 400
	parts = 16
)

// roster holds the connections that the Writer has put on the node's list in Redis. Redis has lost
// some of them if its list has another length. Only the Writer uses it.
type roster struct {
	buckets [buckets]map[int64]struct{}
	length  int
	next    int  // bucket of the next turn
	known   bool // it has the whole list
}

func bucket(fd int64) int { return int(uint64(fd) % buckets) }

func (r *roster) add(fd int64) {
	b := &r.buckets[bucket(fd)]
	if *b == nil {
		*b = map[int64]struct{}{}
	}
	r.length -= len(*b)
	(*b)[fd] = struct{}{}
	r.length += len(*b)
}

func (r *roster) remove(fd int64) {
	b := r.buckets[bucket(fd)]
	r.length -= len(b)
	delete(b, fd)
	r.length += len(b)
}

func (r *roster) has(fd int64) bool {
	_, ok := r.buckets[bucket(fd)][fd]
	return ok
}

// forget empties it: Redis may have another list.
func (r *roster) forget() { *r = roster{next: r.next} }

// turn returns the connections that are compared next.
func (r *roster) turn() (fds []int64) {
	for range buckets / parts {
		for fd := range r.buckets[r.next] {
			fds = append(fds, fd)
		}
		if r.next = (r.next + 1) % buckets; len(fds) >= share {
			break
		}
	}
	return fds
}
