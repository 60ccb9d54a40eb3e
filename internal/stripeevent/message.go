package stripeevent

import (
	"crypto/sha256"
	"encoding/hex"

	"entitled/entitlement"
)

// DigestHeader is the header of a logged event that holds the [BodyDigest] of its body as it arrived. It sits next to
// Nats-Msg-Id, which holds the event's [MsgID].
const DigestHeader = "Entitled-Body-Sha256"

// MsgID is the Nats-Msg-Id of an event: "<acct>/<evt id>", with "self" for one's own account. Stripe's ids are unique per
// account only. Bytes that a header could not hold are escaped as in subjects.
func MsgID(account, id string) string {
	return idToken(account, self) + "/" + entitlement.Key("", id)
}

// BodyDigest is the SHA-256 of a body in lower-case hexadecimal, as sha256sum prints it. It shows
// whether the stored bytes are those that arrived; since whoever can rewrite the log can rewrite the digest, it is
// no proof of origin.
func BodyDigest(body []byte) string {
	sum := sha256.Sum256(body)
	var b [2 * sha256.Size]byte
	hex.Encode(b[:], sum[:])
	return string(b[:])
}
