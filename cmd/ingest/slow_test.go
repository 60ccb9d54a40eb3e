package main

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"entitled/internal/daemon/daemontest"
	"entitled/internal/natstest"
)

var (
	slowSenders = flag.Int("slow", 200, "connections of TestSlowSenders")
	slowBytes   = flag.Int("slow-bytes", 1<<20-1, "bytes that each of them sends of a body of 1 MiB")
	slowPause   = flag.Duration("slow-pause", 0, "what each waits between 64 KiB and the next")
	slowFor     = flag.Duration("slow-for", time.Second, "how long TestSlowSenders goes on")
)

// Connections without the signing secret send most of a body each, and then nothing; those that are
// cut off come again after 2 s. Real webhooks are stored all the same. What ingest takes of memory,
// with GOMEMLIMIT as docker-compose.yml sets it, and how long real webhooks take is logged: run it
// with -v, and -slow 1000 -slow-pause 500ms -slow-for 20s for figures.
func TestSlowSenders(t *testing.T) {
	srv := natstest.Run(t, natstest.SyncAlways)
	s := startWith(t, srv.URL(), map[string]string{"GOMEMLIMIT": "128MiB"})
	s.ready(t, http.StatusOK)
	host := strings.TrimSuffix(strings.TrimPrefix(s.webhooks, "http://"), "/webhooks/stripe")
	var again, sent atomic.Int64
	done := make(chan struct{})
	var attack sync.WaitGroup
	most := bytes.Repeat([]byte("x"), *slowBytes)
	for range *slowSenders {
		attack.Go(func() {
			for {
				n, err := hold(host, most, done)
				sent.Add(n)
				if err != nil {
					t.Error(err)
				}
				select {
				case <-done:
					return
				case <-time.After(2 * time.Second):
					again.Add(1)
				}
			}
		})
	}
	var took []time.Duration
	for start := time.Now(); len(took) < 20 || time.Since(start) < *slowFor; {
		before := time.Now()
		if got := s.send(t, fmt.Sprintf("evt_%d", len(took))); got != `200 {"received":true}` {
			t.Errorf("a real webhook was answered %s", got)
		}
		took = append(took, time.Since(before))
	}
	memory := resident(t, s.Program)
	close(done)
	attack.Wait()
	slices.Sort(took)
	t.Logf("%d connections, %d MiB sent, %d came again; %d real webhooks, p50 %v, p99 %v, longest %v; memory: %s",
		*slowSenders, sent.Load()>>20,
		again.Load(), len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1], memory)
}

// hold sends the beginning of a body and keeps the connection until the other side ends it, or done
// is closed.
func hold(host string, most []byte, done <-chan struct{}) (sent int64, err error) {
	c, err := net.Dial("tcp", host)
	if err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() { // ends with hold
		select {
		case <-done:
		case <-ended:
		}
		_ = c.Close()
	}()
	_, _ = fmt.Fprintf(c,
		"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nStripe-Signature: %s\r\nContent-Length: 1048576\r\n\r\n",
		sign("another body"))
	for piece := range slices.Chunk(most, 64<<10) {
		n, err := c.Write(piece)
		sent += int64(n)
		if err != nil {
			return sent, nil // cut off
		}
		select {
		case <-done:
			return sent, nil
		case <-time.After(*slowPause):
		}
	}
	_, _ = c.Read(make([]byte, 500)) // its answer, or its end
	return sent, nil
}

// resident is the memory of a process as Linux counts it, now and at most.
func resident(t *testing.T, p *daemontest.Program) string {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return "not known here"
	}
	var found []string
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "VmHWM") {
			found = append(found, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(found, ", ")
}
