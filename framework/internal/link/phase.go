package link

// Phase says where the connections of this node are, from the view of one worker: during a reload
// there are two.
type Phase int32

const (
	Starting    Phase = iota // the node starts: there are no connections yet
	TakingOver               // another worker of this node still has them
	Serving                  // this worker has them
	HandingOver              // they are being moved to the next worker
	HandedOver               // the next worker has them
	Stopped                  // they are closed
)

// Owns reports whether no other worker of this node has connections.
func (p Phase) Owns() bool { return p == Starting || p == Serving || p == Stopped }

// Ended reports whether this worker will not serve any more.
func (p Phase) Ended() bool { return p == HandedOver || p == Stopped }

func (p Phase) String() string {
	return [...]string{"starting", "taking over", "serving", "handing over", "handed over", "stopped"}[p]
}
