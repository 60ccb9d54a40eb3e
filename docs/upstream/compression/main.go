// Command compression shows that nats-server 2.15 loses acknowledged messages of a stream that is
// compressed and replicated, under sync_interval: always, when a server is killed:
//
//	go run . -compression s2     # one of three servers is killed at a time
//	go run . -compression none   # the same, and nothing is lost
//	go run . -compression s2 -all
//
// It starts itself again as three nats-servers, publishes 2 KB messages and waits for each
// acknowledgement, kills a server with SIGKILL after each 4,000 of them and starts it again on its
// store, and finally reads every message. It exits with 1 if one that was acknowledged is gone. It
// uses nothing but nats-server and nats.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	compression = flag.String("compression", "s2", "s2 or none")
	all         = flag.Bool("all", false, "kill all three servers at once")
	rounds      = flag.Int("rounds", 4, "how often servers are killed")
	port        = flag.Int("port", 14222, "the first of six ports")
	node        = flag.Int("server", -1, "be this server (used by the program itself)")
	dir         = flag.String("dir", "", "where the servers keep their stores (used by the program itself)")
)

const batch, size = 4000, 2048

// patience bounds the election of a cluster's leaders on a busy machine.
const patience = 3 * time.Minute

func main() {
	flag.Parse()
	do := run
	if *node >= 0 {
		do = serve
	}
	if err := do(); err != nil {
		log.Fatal(err)
	}
}

// serve runs a nats-server until the process is killed.
func serve() error {
	o := &server.Options{
		ServerName: fmt.Sprint("n", *node), Host: "127.0.0.1", Port: *port + *node, NoSigs: true, Logtime: true,
		JetStream: true, StoreDir: filepath.Join(*dir, fmt.Sprint("n", *node)), SyncAlways: true,
		Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: *port + 3 + *node},
	}
	for i := range 3 {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprint("127.0.0.1:", *port+3+i)})
	}
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	_, err = io.Copy(io.Discard, os.Stdin) // it ends with the program that began this server
	return err
}

func run() error {
	d, err := os.MkdirTemp("", "compression-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(d)
	*dir = d
	servers := make([]*exec.Cmd, 3)
	for i := range servers {
		servers[i] = start(i)
	}
	defer kill(servers...)
	urls := fmt.Sprintf("nats://127.0.0.1:%d,nats://127.0.0.1:%d,nats://127.0.0.1:%d", *port, *port+1, *port+2)
	nc, err := nats.Connect(urls, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.RetryOnFailedConnect(true))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	cfg := jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3, Compression: jetstream.S2Compression}
	if *compression == "none" {
		cfg.Compression = jetstream.NoCompression
	}
	err = retry(patience, func(ctx context.Context) error { _, err := js.CreateStream(ctx, cfg); return err })
	if err != nil {
		return err
	}
	body, acked := []byte(strings.Repeat("compressible ", size/13)), 0
	for round := range *rounds {
		for range batch {
			err := retry(patience, func(ctx context.Context) error { _, err := js.Publish(ctx, "s", body); return err })
			if err != nil {
				fmt.Printf("publishing stopped after %d acknowledged messages: %v\n", acked, err)
				return verdict(js, acked)
			}
			acked++
		}
		victims := []int{round % 3}
		if *all {
			victims = []int{0, 1, 2}
		}
		for _, i := range victims {
			kill(servers[i])
		}
		for _, i := range victims {
			servers[i] = start(i)
		}
		fmt.Printf("%d messages acknowledged, then servers %v killed and started again\n", acked, victims)
	}
	return verdict(js, acked)
}

// verdict reads the whole stream. A message published twice because its first acknowledgment was
// lost can hide a lost one, so the verdict favors the server.
func verdict(js jetstream.JetStream, acked int) error {
	readable := 0
	err := retry(patience, func(ctx context.Context) error {
		st, err := js.Stream(ctx, "S")
		if err != nil {
			return err
		}
		cons, err := js.OrderedConsumer(ctx, "S", jetstream.OrderedConsumerConfig{MaxResetAttempts: 3})
		if err != nil {
			return err
		}
		var last uint64
		for readable = 0; last < st.CachedInfo().State.LastSeq; {
			got, err := cons.Fetch(500, jetstream.FetchMaxWait(10*time.Second))
			if err != nil {
				return err
			}
			before := last
			for m := range got.Messages() {
				if meta, err := m.Metadata(); err == nil && meta.Sequence.Stream > last {
					readable, last = readable+1, meta.Sequence.Stream
				}
			}
			if last == before {
				return fmt.Errorf("%d messages came, then nothing", readable)
			}
		}
		if readable < acked {
			return errors.New("fewer messages than were acknowledged")
		}
		return nil
	})
	fmt.Printf("%d acknowledged, %d readable (compression %s)\n", acked, readable, *compression)
	for i := range 3 {
		data, _ := os.ReadFile(filepath.Join(*dir, fmt.Sprint("n", i, ".log"))) // the lines are an illustration
		for line := range strings.Lines(string(data)) {
			if strings.Contains(line, "corrupt") || strings.Contains(line, "monitor goroutine") {
				fmt.Printf("server %d: %s", i, line)
				break
			}
		}
	}
	return err
}

// retry repeats try until within has passed; each try has 5 s.
func retry(within time.Duration, try func(context.Context) error) error {
	for end := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := try(ctx)
		cancel()
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

func start(i int) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		log.Fatal(err)
	}
	out, err := os.OpenFile(filepath.Join(*dir, fmt.Sprint("n", i, ".log")), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(self, "-server", fmt.Sprint(i), "-dir", *dir, "-port", fmt.Sprint(*port))
	cmd.Stderr = out
	if _, err := cmd.StdinPipe(); err != nil {
		log.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		log.Fatal(err)
	}
	return cmd
}

func kill(servers ...*exec.Cmd) {
	for _, s := range servers {
		_ = s.Process.Kill() // it may have ended
		_ = s.Wait()
	}
}
