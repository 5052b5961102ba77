package workers

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// run runs the tickers of a Table until the returned function is called.
func (r rig) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Table.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

func TestPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		defer r.run()()
		near := r.worker("A")
		far := &fakeWorker{}
		far.events = r.Connect("A", netip.MustParseAddr("10.0.0.1"), far)
		time.Sleep(pingInterval - time.Millisecond)
		synctest.Wait()
		r.got(far)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		r.got(near)
		const ping = "\x00\x00\x00\x1c\xc9\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"
		if got := string(far.got); got != ping {
			t.Errorf("%q", got)
		}
	})
}

// Heartbeats come at the times at which the original was seen to send them.
func TestHeartbeat(t *testing.T) {
	for name, one := range map[string]struct {
		Heartbeat
		quiet  time.Duration   // from the first tick back to the only message
		sent   []time.Duration // ms
		closed time.Duration   // ms; 0 = not in 8 s
	}{
		"without limit": {Heartbeat{2 * time.Second, "p", 0}, 1500 * time.Millisecond, []time.Duration{3500, 5500, 7500}, 0},
		"limit of two":  {Heartbeat{2 * time.Second, "p", 2}, 600 * time.Millisecond, []time.Duration{2600, 4600}, 5600},
		"without data":  {Heartbeat{2 * time.Second, "", 1}, 600 * time.Millisecond, nil, 3600},
		"none":          {Heartbeat{0, "p", 1}, 0, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{Heartbeat: one.Heartbeat})
				defer r.run()()
				r.worker("A")
				c := r.open(1)
				synctest.Wait()
				interval := one.Interval
				if one.Limit > 0 {
					interval /= 2
				}
				time.Sleep(interval - one.quiet)
				c.say("hi")
				var sent []time.Duration
				var closed time.Duration
				for at := time.Duration(100); at <= 8000 && closed == 0; at += 100 {
					time.Sleep(100 * time.Millisecond)
					synctest.Wait()
					n, code := c.seen()
					if n > len(sent) {
						sent = append(sent, at)
					}
					if code != 0 {
						closed = at
					}
				}
				if !slices.Equal(sent, one.sent) || closed != one.closed {
					t.Errorf("sent after %d ms, closed after %d", sent, closed)
				}
			})
		})
	}
}

// A client that is not read, since no worker takes its events, is not closed for its silence.
func TestHeartbeatWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Wait: time.Hour, Heartbeat: Heartbeat{Interval: time.Second, Limit: 1}})
		defer r.run()()
		c := r.open(1)
		time.Sleep(10*time.Second + 250*time.Millisecond)
		w := r.worker("A")
		time.Sleep(1700 * time.Millisecond)
		synctest.Wait()
		if _, code := c.seen(); code != 0 {
			t.Error("closed with", code)
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if _, code := c.seen(); code != 4000 {
			t.Error("closed with", code)
		}
		r.got(w, "connect 1 ", "websocket_connect 1 ", "close 1 ")
	})
}
