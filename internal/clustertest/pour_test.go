package clustertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"entitled/stripesim"
)

// megabyte is 10^6 bytes, as disks count.
const megabyte = 1_000_000

// block is more than a block of the file store, which is 8 MB: only a larger log is damaged.
const block = 9 * megabyte

// pour sends events that mark no customer, of 24 to 80 KB, until size more bytes are answered 200.
// Each is repeated until it is.
func (r *rig) pour(size int) {
	r.t.Helper()
	r.mu.Lock()
	enough, from := r.bytes+size, len(r.acked)
	r.mu.Unlock()
	full := func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.bytes >= enough
	}
	var senders sync.WaitGroup
	for k := range 16 {
		senders.Go(func() {
			for n := 0; !full(); n++ {
				if err := r.post(fmt.Sprintf("evt_pour_%d_%d_%d", from, k, n), 24_000+(7*k+n)%8*8000); err != nil {
					r.t.Error(err)
					return
				}
			}
		})
	}
	senders.Wait()
}

// post sends one event until it is answered 200.
func (r *rig) post(id string, size int) error {
	event := fmt.Sprintf(`{"id":%q,"object":"event","type":"invoice.paid","created":%d,"livemode":true,`+
		`"data":{"object":{"id":"in_1","object":"invoice"}},"lines":[`, id, time.Now().Unix())
	line := fmt.Sprintf(`{"id":"il_%s","object":"line_item","amount":1000,"currency":"eur","quantity":1},`, id)
	event += strings.Repeat(line, size/len(line)) + `{}]}`
	ctx, cancel := context.WithTimeout(r.t.Context(), settleWithin)
	defer cancel()
	for {
		status, err := r.send(ctx, event)
		if err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			err = errors.Join(ctx.Err(), err)
			return fmt.Errorf("event %s is not taken within %s: status %d, %w", id, settleWithin, status, err)
		}
	}
}

func (r *rig) send(ctx context.Context, event string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.door, strings.NewReader(event))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Stripe-Signature", stripesim.Sign([]byte(event), time.Now(), secret))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close() //nolint:errcheck // read, or not needed
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode, nil
}
