package bench

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"entitled/internal/ingest"
)

// signingSecret signs every webhook of a benchmark.
const signingSecret = "whsec_bench"

// webhookBody is a customer.subscription.updated of the size that Stripe sends, with places for the
// ids of event and customer.
//
//go:embed webhook.json
var webhookBody []byte

const (
	eventPlace    = "evt_000000000000000000000000"
	customerPlace = "cus_00000000000000"
)

// eventIDs makes every event of a process new: a repeat would be cheaper.
var eventIDs atomic.Uint64

// A ticket is the part that distinguishes one webhook from the next. It is made before the clock
// starts, and copied into a connection's request while it runs.
type ticket struct {
	event, customer [14]byte
	signature       [2 * sha256.Size]byte
}

// A form is an HTTP request with room for a [ticket].
type form struct {
	request                    []byte
	event, customer, signature int
}

func newForm(at time.Time) form {
	unix := strconv.FormatInt(at.Unix(), 10)
	head := "POST " + ingest.Path +
		" HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n" +
		"Content-Type: application/json; charset=utf-8\r\nAccept: */*; q=0.5, application/xml\r\nCache-Control: " +
		"no-cache\r\n" +
		"Content-Length: " + strconv.Itoa(len(webhookBody)) + "\r\nStripe-Signature: t=" + unix + ",v1="
	signature := len(head)
	head += string(make([]byte, 2*sha256.Size)) + "\r\n\r\n"
	return form{
		request:   append([]byte(head), webhookBody...),
		signature: signature,
		event:     len(head) + bytes.Index(webhookBody, []byte(eventPlace)) + len(eventPlace) - 14,
		customer:  len(head) + bytes.Index(webhookBody, []byte(customerPlace)) + len(customerPlace) - 14,
	}
}

func (t form) fill(request []byte, k *ticket) {
	copy(request[t.event:], k.event[:])
	copy(request[t.customer:], k.customer[:])
	copy(request[t.signature:], k.signature[:])
}

// newTickets returns n webhooks for customers in turn, signed at a time.
func newTickets(n, customers int, at time.Time) []ticket {
	t := newForm(at)
	tickets := make([]ticket, n)
	first := eventIDs.Add(uint64(n)) - uint64(n)
	const workers = 2
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			mac := hmac.New(sha256.New, []byte(signingSecret))
			request := bytes.Clone(t.request)
			body := request[len(request)-len(webhookBody):]
			for i := w; i < n; i += workers {
				k := &tickets[i]
				copy(k.event[:], fmt.Sprintf("%014d", first+uint64(i)))
				copy(k.customer[:], fmt.Sprintf("%014d", i%customers))
				t.fill(request, k)
				mac.Reset()
				fmt.Fprintf(mac, "%d.", at.Unix())
				mac.Write(body)
				hex.Encode(k.signature[:], mac.Sum(nil))
			}
		})
	}
	all.Wait()
	return tickets
}
