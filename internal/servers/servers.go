// Package servers asks every NATS server of a cluster for the state of its JetStream, over an
// ordinary connection.
//
// The servers answer if the system account exports $SYS.REQ.SERVER.PING.JSZ and .HEALTHZ to the
// account of the connection, as nats.conf does for ENTITLED. The answers have no passwords or keys.
// They cover the whole server, including the streams of other accounts.
//
// Call [Look], then use [Fleet.Servers] and [Fleet.Missing]; [AtPort] asks the one connected server where
// no server answers. [TakeInventory] and [Differing] find a replica that lost what its leader has.
package servers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	jszSubject     = "$SYS.REQ.SERVER.PING.JSZ"
	healthzSubject = "$SYS.REQ.SERVER.PING.HEALTHZ"
)

// ErrNotAnswered means that no server answers, because the system account does not export the
// subject to the connection's account.
var ErrNotAnswered = errors.New("no server answers this account: its system account does not export the question")

// ErrDenied means that the NATS user may not send the request, or may not receive the answer.
var ErrDenied = errors.New("this NATS user may not ask the servers")

// A Server is the answer of one server.
type Server struct {
	Name, ID, Version string
	JetStream         JetStream
	// Health is nil if it was not requested or not answered.
	Health *Health
}

// JetStream is the state of a server's JetStream, with the names of the monitoring port's /jsz.
type JetStream struct {
	ServerID string `json:"server_id"`
	// Disabled reports that JetStream is off, by configuration or because the server could no
	// longer write.
	Disabled bool `json:"disabled"`
	// Storage and Memory are the sizes in bytes of the streams on disk and in memory.
	Storage int64 `json:"storage"`
	Memory  int64 `json:"memory"`
	Config  struct {
		MaxStorage   int64         `json:"max_storage"`
		MaxMemory    int64         `json:"max_memory"`
		SyncAlways   bool          `json:"sync_always"`
		SyncInterval time.Duration `json:"sync_interval"`
	} `json:"config"`
	// Meta is nil for a server outside a cluster.
	Meta *Meta `json:"meta_cluster"`
	// Accounts is filled only by [LookAtStreams].
	Accounts []struct {
		Streams []Stream `json:"stream_detail"`
	} `json:"account_details"`
}

// Meta is the group of all servers of a cluster with JetStream.
type Meta struct {
	Leader   string `json:"leader"`
	Size     int    `json:"cluster_size"`
	Replicas []struct {
		Name string `json:"name"`
	} `json:"replicas"`
}

// Health is a server's /healthz.
type Health struct {
	Status string `json:"status"`
	Error  string `json:"error"`
}

// A Fleet is all servers that were found.
type Fleet struct {
	// Servers that answered, by name.
	Servers []Server
	// Size is the number of servers with JetStream in the cluster; 1 without a cluster.
	Size int
	// Missing are the names of those that did not answer. Unnamed is the number of those whose
	// names no server knows.
	Missing []string
	Unnamed int
}

// Look asks the servers for the state of their JetStream and, if health is true, for their health.
// It returns when all have answered, or when patience or ctx ends; then some are missing. The error
// is [ErrNotAnswered], [ErrDenied] or that of the connection.
func Look(ctx context.Context, nc *nats.Conn, patience time.Duration, health bool) (Fleet, error) {
	f, err := gather(ctx, nc, nil, patience)
	if err != nil || !health {
		return f, err
	}
	answered := 0
	err = ask(ctx, nc, healthzSubject, nil, patience, func(a answer) (enough bool) {
		i := slices.IndexFunc(f.Servers, func(s Server) bool { return s.ID == a.Server.ID })
		if i < 0 || f.Servers[i].Health != nil {
			return false
		}
		h := &Health{}
		if json.Unmarshal(a.Data, h) != nil {
			return false
		}
		f.Servers[i].Health = h
		answered++
		return answered == len(f.Servers)
	})
	if errors.Is(err, ErrNotAnswered) || errors.Is(err, ErrDenied) {
		err = nil // the server is listed without health
	}
	return f, err
}

// gather asks every server for the state of its JetStream.
func gather(ctx context.Context, nc *nats.Conn, question []byte, patience time.Duration) (Fleet, error) {
	var f Fleet
	err := ask(ctx, nc, jszSubject, question, patience, func(a answer) (enough bool) {
		s := Server{Name: a.Server.Name, ID: a.Server.ID, Version: a.Server.Version}
		if json.Unmarshal(a.Data, &s.JetStream) != nil || f.has(s.ID) {
			return false
		}
		f.add(s)
		return len(f.Missing)+f.Unnamed == 0
	})
	return f, err
}

// One returns the fleet as a single answer of a monitoring port shows it: the other servers of the
// cluster are missing.
func One(s Server) Fleet {
	var f Fleet
	f.add(s)
	return f
}

func (f *Fleet) has(id string) bool {
	return slices.ContainsFunc(f.Servers, func(s Server) bool { return s.ID == id })
}

// add adds a server's answer and updates the missing servers.
func (f *Fleet) add(s Server) {
	f.Servers = append(f.Servers, s)
	slices.SortFunc(f.Servers,
		func(a, b Server) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	f.Size, f.Missing, f.Unnamed = 1, nil, 0
	known, answered := map[string]bool{}, map[string]bool{}
	for _, s := range f.Servers {
		answered[s.Name] = true
		meta := s.JetStream.Meta
		if meta == nil {
			continue
		}
		f.Size = max(f.Size, meta.Size)
		known[s.Name] = true
		known[meta.Leader] = true
		for _, r := range meta.Replicas {
			known[r.Name] = true
		}
	}
	named := 0
	for name := range known {
		if name == "" || strings.HasPrefix(name, unknownName) {
			continue
		}
		named++
		if !answered[name] {
			f.Missing = append(f.Missing, name)
		}
	}
	slices.Sort(f.Missing)
	if named > 0 {
		f.Unnamed = max(0, f.Size-named)
	}
}

// unknownName is the name that a server reports for one that it has not seen since its start.
const unknownName = "Server name unknown"

// answer is the envelope of a server's answer.
type answer struct {
	Server struct {
		Name    string `json:"name"`
		ID      string `json:"id"`
		Version string `json:"ver"`
	} `json:"server"`
	Data json.RawMessage `json:"data"`
}

// ask calls each with every answer until each returns true, or patience ends.
func ask(ctx context.Context, nc *nats.Conn, subject string, question []byte, patience time.Duration,
	each func(answer) (enough bool)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe() //nolint:errcheck // a connection that is gone has none
	before := nc.LastError()
	if err := nc.PublishRequest(subject, inbox, question); err != nil {
		return err
	}
	// The server answers in order: a refusal arrives before this.
	if err := nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("ask the servers: %w", err)
	}
	if last := nc.LastError(); last != before && refuses(last, subject, inbox) {
		return fmt.Errorf("%w: %w", ErrDenied, last)
	}
	answered := false
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, nats.ErrNoResponders), err == nil && len(msg.Data) == 0 &&
			msg.Header.Get("Status") == "503":
			return ErrNotAnswered
		case errors.Is(err, context.DeadlineExceeded) && answered:
			return nil
		case errors.Is(err, context.DeadlineExceeded):
			return ErrNotAnswered
		case err != nil:
			return fmt.Errorf("ask the servers: %w", err)
		}
		var a answer
		if json.Unmarshal(msg.Data, &a) != nil || a.Server.ID == "" {
			continue
		}
		answered = true
		if each(a) {
			return nil
		}
	}
}

// refuses reports whether err is the server's refusal of the request, or of the inbox for its
// answers.
func refuses(err error, subject, inbox string) bool {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return false
	}
	text := err.Error()
	return strings.Contains(text, `Publish to "`+subject+`"`) || strings.Contains(text, `Subscription to "`+inbox+`"`)
}
