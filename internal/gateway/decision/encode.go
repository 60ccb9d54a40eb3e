package decision

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
)

// Encode returns the JSON, and the entity tag, which covers all but as_of and revision.
func (d Decision) Encode() (body []byte, tag string) {
	body = JSON(d)
	d.AsOf, d.Revision = nil, 0
	return body, Tag(JSON(d))
}

// Tag returns a weak entity tag of an answer.
func Tag(content []byte) string {
	sum := sha256.Sum256(content)
	return `W/"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
}

// JSON encodes what the gateway's own types hold, which JSON always can.
func JSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("encode an answer: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
