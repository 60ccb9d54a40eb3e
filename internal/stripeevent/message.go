package stripeevent

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"

	"entitled/entitlement/snapshot"
)

// DigestHeader is the header of a stored event with the [BodyDigest] of its body as it arrived.
// Nats-Msg-Id has the event's [MsgID].
const DigestHeader = "Entitled-Body-Crc32c"

// ForgottenHeader is the header of the record that says that a customer was forgotten; its value is
// the time in RFC 3339. It is the customer's oldest record, since earlier ones were erased.
const ForgottenHeader = "Entitled-Forgotten"

// MsgID returns the Nats-Msg-Id of an event: "<acct>/<evt id>", with "self" for the platform's own
// account, since Stripe's ids are unique only per account. Bytes that a header cannot have are
// escaped as in subjects.
func MsgID(account, id string) string {
	return idToken(account, self) + "/" + snapshot.Key("", id)
}

// BodyDigest returns the CRC-32C of a body in eight lower-case hexadecimal digits. It shows whether
// the stored bytes are those that arrived. It does not authenticate them, and no digest in a header
// could: an attacker who can rewrite the stream can rewrite its headers.
func BodyDigest(body []byte) string {
	var b [2 * crc32.Size]byte
	hex.Encode(b[:], binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))))
	return string(b[:])
}
