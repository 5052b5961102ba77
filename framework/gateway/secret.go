package gateway

import (
	"crypto/subtle"
	"encoding/json"
	"unicode/utf8"
)

// maxIntroduction is the largest frame in bytes that is read from a peer without authority.
const maxIntroduction = 64 << 10

// maxWorkerKey is the largest worker_key in bytes.
const maxWorkerKey = 256

// secretKey is what peers must present. The empty one trusts every peer of the inner port.
type secretKey string

// equals compares in constant time. A missing secret is the empty one.
func (s secretKey) equals(presented *string) bool {
	text := ""
	if presented != nil {
		text = *presented
	}
	return subtle.ConstantTimeCompare([]byte(s), []byte(text)) == 1
}

// introduction is the body of WORKER_CONNECT and GATEWAY_CLIENT_CONNECT.
type introduction struct {
	WorkerKey *string `json:"worker_key"`
	SecretKey *string `json:"secret_key"`
}

// admits reports whether a frame with an introduction gives authority to its peer. workerKey is
// set for a worker.
func (s secretKey) admits(f Frame) (workerKey string, ok bool) {
	if f.Command == cmdGatewayClientConnect && s == "" {
		return "", true
	}
	var in introduction
	if !object(f.Body, &in) || s != "" && !s.equals(in.SecretKey) {
		return "", false
	}
	if f.Command != cmdWorkerConnect {
		return "", true
	}
	if in.WorkerKey == nil || *in.WorkerKey == "" || len(*in.WorkerKey) > maxWorkerKey {
		return "", false
	}
	return *in.WorkerKey, true
}

// object decodes a JSON object into a struct. Other documents, and members of other types, are
// refused.
func object(doc []byte, into any) bool {
	for _, c := range doc {
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '{':
			return utf8.Valid(doc) && json.Unmarshal(doc, into) == nil
		}
		return false
	}
	return false
}
