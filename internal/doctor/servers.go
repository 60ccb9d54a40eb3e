package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"entitled/internal/servers"
	"entitled/internal/topology"
)

// fills is where a store is worth a look, in percent.
const fills = 80

// natsServers is what the NATS servers say of themselves.
func natsServers(cfg Config, s sight) []Check {
	if s.err != nil {
		return []Check{unseen(cfg, s.err)}
	}
	return []Check{answering(cfg, s), durability(cfg, s.fleet), health(s.fleet), fill(s.fleet)}
}

// unseen is instead of all that, where no server answers.
func unseen(cfg Config, err error) Check {
	const what = "whether what is acknowledged is on disk, whether a store is full or broken, whether every server is there"
	if cfg.Monitor == NoMonitor {
		return Check{Name: "nats servers", State: Warn, Text: "not looked at, as NATS_MONITOR=none says: " + what,
			Next: "ask those who look after the servers"}
	}
	c := Check{Name: "nats servers", State: Unseen, Text: "not seen: " + what + ": " + err.Error()}
	c.Next = "export the two questions to this account, as the accounts SYS and ENTITLED of nats.conf do; or give the server's monitoring port with --nats-monitor, " +
		"or NATS_MONITOR=none if the servers are somebody else's"
	if errors.Is(err, servers.ErrDenied) {
		c.Next = "run this as a user who may ask $SYS.REQ.SERVER.PING.JSZ and .HEALTHZ, ops of nats.conf for one"
	}
	return c
}

// answering is about who answered, with which version, and whether they are enough.
func answering(cfg Config, s sight) Check {
	f := s.fleet
	c := Check{Name: "nats servers", State: OK}
	missing := slices.Clone(f.Missing)
	if f.Unnamed > 0 {
		missing = append(missing, fmt.Sprintf("%d whose name is not known", f.Unnamed))
	}
	total := len(f.Servers) + len(f.Missing) + f.Unnamed
	switch {
	case len(missing) > 0 && s.port != "":
		c.found(Unseen, fmt.Sprintf("%d of %d seen, at %s; not seen: %s", len(f.Servers), total, s.port, strings.Join(missing, ", ")),
			"connect to each of them and give its monitoring port, or export the two questions to this account as nats.conf does")
	case len(missing) > 0:
		c.found(Fail, fmt.Sprintf("%d of %d answer; missing: %s", len(f.Servers), total, strings.Join(missing, ", ")),
			"are they running, and do the others reach them? three servers need two: with fewer nothing is stored, and webhooks are answered 503")
	default:
		c.Text = fmt.Sprintf("%d of %d answer", len(f.Servers), total)
		if total == 1 {
			c.Text = "1 of 1 answers"
		}
	}
	versions := map[string]bool{}
	for _, s := range f.Servers {
		versions[s.Version] = true
		if !topology.Supported(s.Version) {
			c.found(Fail, on(f, s)+"has version "+s.Version, "upgrade it to 2.14 or newer")
		}
	}
	if len(versions) > 1 {
		c.found(Warn, "their versions differ: "+each(f, func(s servers.Server) string { return s.Version }), "is this a rolling upgrade? bring it to its end")
	} else if c.State == OK {
		c.Text += ", version " + f.Servers[0].Version
		if len(f.Servers) > 1 {
			c.Text += ": " + each(f, func(servers.Server) string { return "" })
		}
	}
	if has := f.Size; cfg.Topology.Replicas > has {
		c.found(Fail, fmt.Sprintf("REPLICAS is %d, and there is %s", cfg.Topology.Replicas, count(has, "server")),
			"docs/operations.md says how to go from one server to three: the store folders must be new")
	}
	return c
}

// durability is about sync_interval.
func durability(cfg Config, f servers.Fleet) Check {
	c := Check{Name: "durability", State: OK, Text: "sync_interval is always: what is acknowledged is on disk"}
	if len(f.Servers) > 1 {
		c.Text = fmt.Sprintf("sync_interval is always on %s: what is acknowledged is on disk", all(f))
	}
	for _, s := range f.Servers {
		synced := s.JetStream.Config
		switch text := fmt.Sprintf("%sthe disk is synced every %s: ", on(f, s), synced.SyncInterval); {
		case s.JetStream.Disabled || synced.SyncAlways:
		case cfg.Topology.Replicas > 1:
			c.found(Warn, text+"a power failure of the whole cluster loses what was acknowledged since",
				"sync_interval: always in the block jetstream of nats.conf, on every server")
		default:
			c.found(Fail, text+"a power failure loses webhooks that Stripe does not send again",
				"sync_interval: always in the block jetstream of nats.conf")
		}
	}
	return c
}

// health is what each server finds wrong with what it stores. One whose disk was full refuses writes and answers everything else as ever, also when there is
// room again, until it is restarted.
func health(f servers.Fleet) Check {
	c := Check{Name: "nats health", State: OK, Text: "/healthz is ok: the server finds nothing wrong with its streams"}
	if len(f.Servers) > 1 {
		c.Text = fmt.Sprintf("/healthz is ok on %s: they find nothing wrong with their streams", all(f))
	}
	for _, s := range f.Servers {
		switch {
		case s.JetStream.Disabled:
			c.found(Fail, on(f, s)+"JetStream is off", "is the disk of NATS full? nats-server turns JetStream off when it cannot write: make room, then restart it; its log says more")
		case s.Health == nil:
			c.found(Unseen, on(f, s)+"/healthz is not answered", "ask it at its monitoring port: curl -s http://127.0.0.1:8222/healthz")
		case s.Health.Status == "ok":
		case isFull(s):
			c.found(Fail, on(f, s)+clip("/healthz is "+s.Health.Status+": "+s.Health.Error), "its store is full, as `nats store` says")
		case strings.Contains(s.Health.Error, "meta leader"):
			c.found(Fail, on(f, s)+clip("/healthz is "+s.Health.Status+": "+s.Health.Error),
				"are more than half of the servers running, and do they reach one another? look again in a minute: it is so during an election")
		case strings.Contains(s.Health.Error, "not current"):
			c.found(Fail, on(f, s)+clip("/healthz is "+s.Health.Status+": "+s.Health.Error),
				"look again in a minute: it is so while a server starts, and while another leader is elected; else its log says more")
		default:
			c.found(Fail, on(f, s)+clip("/healthz is "+s.Health.Status+": "+s.Health.Error),
				"is the disk of NATS full? make room, then restart the server, which goes on refusing writes until then; else its log says more")
		}
	}
	return c
}

// fill is how full the store of each server is. One that was started on a disk that was nearly full calls itself well and refuses all the same: its limit
// follows from the room that it found.
func fill(f servers.Fleet) Check {
	c := Check{Name: "nats store", State: OK}
	text := func(s servers.Server) string {
		return fmt.Sprintf("%s of %s (%d %%)", size(s.JetStream.Storage), size(s.JetStream.Config.MaxStorage), percent(s.JetStream.Storage, s.JetStream.Config.MaxStorage))
	}
	var full, nearly []string
	for _, s := range f.Servers {
		switch {
		case s.JetStream.Disabled:
		case isFull(s):
			full = append(full, on(f, s)+text(s))
		case percent(s.JetStream.Storage, s.JetStream.Config.MaxStorage) >= fills:
			nearly = append(nearly, on(f, s)+text(s))
		}
	}
	if len(full) > 0 {
		c.found(Fail, strings.Join(full, ", ")+": it takes no more, and webhooks are answered 503",
			"make room on the disk of NATS, or raise max_file_store in nats.conf if it is there, then restart the server: it reckons the limit when it starts")
	}
	if len(nearly) > 0 {
		c.found(Warn, strings.Join(nearly, ", ")+": once it is full, every webhook is answered 503",
			"a larger disk and max_file_store, or a lower EVENTS_MAX_AGE; `log growth` says how long it lasts")
	}
	for _, s := range f.Servers {
		if m := s.JetStream; !m.Disabled && percent(m.Memory, m.Config.MaxMemory) >= fills {
			c.found(Warn, fmt.Sprintf("%s%s of %s in memory (%d %%)", on(f, s), size(m.Memory), size(m.Config.MaxMemory), percent(m.Memory, m.Config.MaxMemory)),
				"raise max_memory_store in nats.conf: without stripe_pace, which is there, syncs cost more requests")
		}
	}
	if c.State == OK {
		c.Text = each(f, text)
	}
	return c
}

func isFull(s servers.Server) bool { return s.JetStream.Storage > s.JetStream.Config.MaxStorage }

// on is a server at the beginning of a text, nothing if it is the only one.
func on(f servers.Fleet, s servers.Server) string {
	if len(f.Servers)+len(f.Missing)+f.Unnamed == 1 {
		return ""
	}
	return named(s) + ": "
}

// all are the servers that answered.
func all(f servers.Fleet) string {
	if len(f.Missing)+f.Unnamed > 0 {
		return fmt.Sprintf("the %d that answer", len(f.Servers))
	}
	return fmt.Sprintf("all %d", len(f.Servers))
}

// named is what to call a server. One without server_name has its id for a name.
func named(s servers.Server) string {
	if s.Name == s.ID && len(s.ID) > 8 {
		return s.ID[:8] + "…"
	}
	return s.Name
}

// each lists what text says of every server.
func each(f servers.Fleet, text func(servers.Server) string) string {
	list := make([]string, len(f.Servers))
	for i, s := range f.Servers {
		if list[i] = text(s); len(f.Servers) > 1 {
			list[i] = strings.TrimSpace(named(s) + " " + list[i])
		}
	}
	return strings.Join(list, ", ")
}

func percent(part, whole int64) int64 {
	if whole <= 0 {
		return 0
	}
	return int64(float64(part) / float64(whole) * 100)
}

// size is a number of bytes for people.
func size(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// longest bounds what is shown of a server's own words, in bytes.
const longest = 400

func clip(s string) string {
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest], "") + "…"
}
