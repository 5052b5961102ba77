package link

// Phase says whose the connections of this node are, seen from one worker: during a reload there are two.
type Phase int32

const (
	Starting    Phase = iota // the node starts: there are no connections yet
	TakingOver               // another worker of this node still has them
	Serving                  // they are this worker's
	HandingOver              // they are frozen, and on their way to the next worker
	HandedOver               // the next worker has them
	Stopped                  // they are closed
)

// Owns tells whether no other worker of this node has connections.
func (p Phase) Owns() bool { return p == Starting || p == Serving || p == Stopped }

// Ended tells whether this worker's part is over.
func (p Phase) Ended() bool { return p == HandedOver || p == Stopped }

func (p Phase) String() string {
	return [...]string{"starting", "taking over", "serving", "handing over", "handed over", "stopped"}[p]
}
