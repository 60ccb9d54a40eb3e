package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// blast sends one webhook a ticket over so many kept-alive connections, each waiting for its answer
// before it sends the next, and returns how long all took. Any answer but 200 is an error.
//
// It writes prebuilt bytes and looks at no more of an answer than it must: it shares its cores with
// the programs under measurement.
func blast(ctx context.Context, addr string, connections int, at time.Time, tickets []ticket) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conns := make([]net.Conn, connections)
	for i := range conns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		conns[i] = c
	}
	// A blocked read does not observe ctx.
	defer context.AfterFunc(ctx, func() {
		for _, c := range conns {
			_ = c.SetDeadline(time.Unix(1, 0))
		}
	})()
	t := newForm(at)
	var next atomic.Int64
	var g errgroup.Group
	start := time.Now()
	for _, c := range conns {
		g.Go(func() error {
			request := bytes.Clone(t.request)
			answers := bufio.NewReaderSize(c, 1<<10)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(tickets) {
					return nil
				}
				t.fill(request, &tickets[i])
				if _, err := c.Write(request); err != nil {
					return err
				}
				if err := readAnswer(answers); err != nil {
					cancel()
					return err
				}
			}
		})
	}
	err := g.Wait()
	return time.Since(start), err
}

var contentLength = []byte("Content-Length: ")

// readAnswer reads one answer of a Go server and returns an error unless it is 200.
func readAnswer(r *bufio.Reader) error {
	status, err := r.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	var wrong error
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		wrong = fmt.Errorf("answer %q, want 200", bytes.TrimSpace(status))
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("read an answer: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, contentLength); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return fmt.Errorf("read an answer: %w", err)
			}
		}
	}
	if length < 0 {
		return errors.New("read an answer: no Content-Length")
	}
	if wrong != nil {
		body, _ := io.ReadAll(io.LimitReader(r, int64(length)))
		return fmt.Errorf("%w: %s", wrong, body)
	}
	_, err = r.Discard(length)
	return err
}
