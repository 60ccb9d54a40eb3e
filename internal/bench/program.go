package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// A program is a process of cmd/syncer, as in production. A child is a process of `entitled`, whose
// file is larger, so more of it is in memory.
type program struct {
	cmd *exec.Cmd
	log bytes.Buffer
	// ended is closed when the process has ended.
	ended chan struct{}
}

// startSyncer starts the program, and returns when it is ready.
func startSyncer(ctx context.Context, path, natsURL, stripe string) (*program, error) {
	admin, err := freeAddr()
	if err != nil {
		return nil, err
	}
	p := &program{ended: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, path, "--nats-url="+natsURL, "--stripe-api-base="+stripe,
		"--stripe-rate="+strconv.Itoa(syncRate), "--admin-addr="+admin)
	p.cmd.Env = append(os.Environ(), "STRIPE_API_KEY="+stripeKey)
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // stop waits for it
		defer close(p.ended)
		_ = p.cmd.Wait() // its exit status does not matter
	}()
	ctx, cancel := context.WithTimeout(ctx, childStart)
	defer cancel()
	for !isReady(ctx, "http://"+admin+"/readyz") {
		err := sleep(ctx, 20*time.Millisecond)
		select {
		case <-p.ended:
			err = errors.New("the process has ended")
		default:
		}
		if err != nil {
			p.stop()
			return nil, fmt.Errorf("start %s: not ready: %w: %s", path, err, p.log.Bytes())
		}
	}
	return p, nil
}

func isReady(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func (p *program) resident() (int64, error) { return residentOf(strconv.Itoa(p.cmd.Process.Pid)) }

func (p *program) stop() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}
