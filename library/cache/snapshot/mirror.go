package snapshot

import (
	"fmt"
	"reflect"
	"sync"
	"time"
	"unsafe"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/hyperloglog"
	"github.com/alicebob/miniredis/v2/server"
)

// The types of this file repeat unexported ones of miniredis, field by field. miniredis has no call
// that reads several keys at one moment, or a stream with its groups; but its lock is public, and
// under it the fields can be read and written here. Reflection compares the two layouts at Open, so
// another version of miniredis is refused by name instead of being misread.

type database struct {
	master        *miniredis.Miniredis
	id            int
	keys          map[string]string // the kind of each key
	stringKeys    map[string]string
	hashKeys      map[string]map[string]string
	listKeys      map[string][]string
	setKeys       map[string]map[string]struct{}
	hllKeys       map[string]*hll
	sortedsetKeys map[string]map[string]float64
	streamKeys    map[string]*stream
	ttl           map[string]time.Duration
	hashTTLs      map[string]map[string]time.Duration
	lru           map[string]time.Time
	keyVersion    map[string]uint
}

type hll struct{ inner *hyperloglog.Sketch }

type stream struct {
	entries         []miniredis.StreamEntry
	groups          map[string]*group
	lastAllocatedID string
	mu              sync.Mutex
}

type group struct {
	stream    *stream
	lastID    string
	pending   []pending
	consumers map[string]*consumer
}

type pending struct {
	id            string
	consumer      string
	deliveryCount int
	lastDelivery  time.Time
}

type consumer struct {
	numPendingEntries int
	lastSeen          time.Time
	lastSuccess       time.Time
}

// connection is miniredis' state of a client.
type connection struct {
	selectedDB       int
	authenticated    bool
	transaction      []func() // nil = no MULTI is open
	dirtyTransaction bool
	watch            map[watched]uint
	subscriber       *miniredis.Subscriber
	nested           bool // a script's: the lock is held
	nestedSHA        string
}

type watched struct {
	db  int
	key string
}

var databasesAt = func() uintptr {
	f, _ := reflect.TypeFor[miniredis.Miniredis]().FieldByName("dbs")
	return f.Offset
}()

// databases needs the lock.
func databases(m *miniredis.Miniredis) map[int]*database {
	return *(*map[int]*database)(unsafe.Add(unsafe.Pointer(m), databasesAt))
}

// connectionOf is nil for a client that has sent nothing yet.
func connectionOf(c *server.Peer) *connection {
	if c.Ctx == nil {
		return nil
	}
	return (*connection)(reflect.ValueOf(c.Ctx).UnsafePointer())
}

// checkLayout compares the mirrored types with those of the linked miniredis. peer has sent a
// command.
func checkLayout(peer *server.Peer) error {
	f, ok := reflect.TypeFor[miniredis.Miniredis]().FieldByName("dbs")
	if !ok || f.Type != reflect.TypeFor[map[int]*miniredis.RedisDB]() {
		return fmt.Errorf("this version of miniredis is unknown: its databases are elsewhere")
	}
	for _, pair := range [][2]reflect.Type{
		{reflect.TypeFor[miniredis.RedisDB](), reflect.TypeFor[database]()},
		{reflect.TypeOf(peer.Ctx), reflect.TypeFor[*connection]()},
	} {
		if err := sameLayout(pair[0], pair[1], map[reflect.Type]bool{}); err != nil {
			return fmt.Errorf("this version of miniredis is unknown: %w", err)
		}
	}
	return nil
}

func sameLayout(theirs, ours reflect.Type, seen map[reflect.Type]bool) error {
	if theirs == ours || seen[theirs] {
		return nil
	}
	seen[theirs] = true
	if theirs.Kind() != ours.Kind() || theirs.Size() != ours.Size() {
		return fmt.Errorf("%v is not %v", theirs, ours)
	}
	switch theirs.Kind() {
	case reflect.Struct:
		return sameFields(theirs, ours, seen)
	case reflect.Map:
		if err := sameLayout(theirs.Key(), ours.Key(), seen); err != nil {
			return err
		}
		return sameLayout(theirs.Elem(), ours.Elem(), seen)
	case reflect.Pointer, reflect.Slice:
		return sameLayout(theirs.Elem(), ours.Elem(), seen)
	}
	return nil
}

func sameFields(theirs, ours reflect.Type, seen map[reflect.Type]bool) error {
	if theirs.NumField() != ours.NumField() {
		return fmt.Errorf("%v has %d fields", theirs, theirs.NumField())
	}
	for i := range theirs.NumField() {
		f, g := theirs.Field(i), ours.Field(i)
		if f.Name != g.Name || f.Offset != g.Offset {
			return fmt.Errorf("%v.%s is not %v.%s", theirs, f.Name, ours, g.Name)
		}
		if err := sameLayout(f.Type, g.Type, seen); err != nil {
			return err
		}
	}
	return nil
}
