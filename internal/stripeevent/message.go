package stripeevent

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"

	"entitled/entitlement"
)

// DigestHeader is the header of a logged event that holds the [BodyDigest] of its body as it arrived. It sits next to
// Nats-Msg-Id, which holds the event's [MsgID].
const DigestHeader = "Entitled-Body-Crc32c"

// ForgottenHeader is the header of the record that a customer was forgotten; its value is when, in RFC 3339. That record is the oldest of the
// customer's: those before it were erased.
const ForgottenHeader = "Entitled-Forgotten"

// MsgID is the Nats-Msg-Id of an event: "<acct>/<evt id>", with "self" for one's own account. Stripe's ids are unique per
// account only. Bytes that a header could not hold are escaped as in subjects.
func MsgID(account, id string) string {
	return idToken(account, self) + "/" + entitlement.Key("", id)
}

// BodyDigest is the CRC-32C of a body in eight lower-case hexadecimal digits. It shows whether the stored bytes are those
// that arrived. It is no proof of origin, and a costlier digest would be none either: whoever can rewrite the log can rewrite
// its headers.
func BodyDigest(body []byte) string {
	var b [2 * crc32.Size]byte
	hex.Encode(b[:], binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))))
	return string(b[:])
}
