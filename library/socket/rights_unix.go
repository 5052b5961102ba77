//go:build unix

package socket

import "syscall"

// Rights returns the descriptors in the control data of a received message (SCM_RIGHTS), in the
// order in which they were sent. They belong to the caller.
func Rights(oob []byte) (fds []int, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		list, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			return fds, err
		}
		fds = append(fds, list...)
	}
	return fds, nil
}
