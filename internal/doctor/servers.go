package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"entitled/internal/servers"
	"entitled/internal/topology"
)

// fills is the fill level in percent from which a store gets a warning.
const fills = 80

// natsServers checks the reports of the NATS servers.
func natsServers(cfg Config, s sight) []Check {
	if s.err != nil {
		return []Check{unseen(cfg, s.err)}
	}
	return []Check{answering(cfg, s), durability(cfg, s.fleet), health(s.fleet), fill(s.fleet)}
}

// unseen replaces these checks if no server answers.
func unseen(cfg Config, err error) Check {
	const what = "whether acknowledged messages are on disk, whether a store is full or broken, " +
		"whether every server is there"
	if cfg.Monitor == NoMonitor {
		return Check{Name: "nats servers", State: Warn, Text: "not looked at, as NATS_MONITOR=none says: " + what,
			Next: "ask the operators of the servers"}
	}
	c := Check{Name: "nats servers", State: Unseen, Text: "not seen: " + what + ": " + err.Error()}
	c.Next = "export the two questions to this account, as the accounts SYS and ENTITLED of nats.conf do; or give the " +
		"" +
		"server's monitoring port with --nats-monitor, " +
		"or NATS_MONITOR=none if others operate the servers"
	if errors.Is(err, servers.ErrDenied) {
		c.Next = "run this as a user who may ask $SYS.REQ.SERVER.PING.JSZ and .HEALTHZ, ops of nats.conf for one"
	}
	return c
}

// answering checks which servers answered, their versions, and their number.
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
		c.found(Unseen,
			fmt.Sprintf("%d of %d seen, at %s; not seen: %s",
				len(f.Servers), total, s.port, strings.Join(missing, ", ")),
			"connect to each of them and give its monitoring port, or export the two questions to this account as "+
				"nats.conf does")
	case len(missing) > 0:
		c.found(Fail, fmt.Sprintf("%d of %d answer; missing: %s", len(f.Servers), total, strings.Join(missing, ", ")),
			"are they running, and do the others reach them? three servers need two: with fewer nothing is stored, "+
				"and webhooks are answered 503")
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
		c.found(Warn, "their versions differ: "+each(f, func(s servers.Server) string { return s.Version }),
			"finish the rolling upgrade")
	} else if c.State == OK {
		c.Text += ", version " + f.Servers[0].Version
		if len(f.Servers) > 1 {
			c.Text += ": " + each(f, func(servers.Server) string { return "" })
		}
	}
	if has := f.Size; cfg.Topology.Replicas > has {
		c.found(Fail, fmt.Sprintf("REPLICAS is %d, and there is %s", cfg.Topology.Replicas, count(has, "server")),
			"see docs/operations/cluster.md for the steps from one server to three: the store folders must be new")
	}
	return c
}

// durability checks sync_interval.
func durability(cfg Config, f servers.Fleet) Check {
	c := Check{Name: "durability", State: OK, Text: "sync_interval is always: acknowledged messages are on disk"}
	if len(f.Servers) > 1 {
		c.Text = fmt.Sprintf("sync_interval is always on %s: acknowledged messages are on disk", all(f))
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

// health checks each server's own report about its streams. A server whose disk was full refuses
// writes until it is restarted, even after there is room again, and answers everything else
// normally.
func health(f servers.Fleet) Check {
	c := Check{Name: "nats health", State: OK, Text: "/healthz is ok: the server finds nothing wrong with its streams"}
	if len(f.Servers) > 1 {
		c.Text = fmt.Sprintf("/healthz is ok on %s: they find nothing wrong with their streams", all(f))
	}
	for _, s := range f.Servers {
		switch {
		case s.JetStream.Disabled:
			c.found(Fail, on(f, s)+"JetStream is off",
				"nats-server turns JetStream off when it cannot write: make room on its disk, then restart it; see "+
					"its log")
		case s.Health == nil:
			c.found(Unseen, on(f, s)+"/healthz is not answered",
				"ask it at its monitoring port: curl -s http://127.0.0.1:8222/healthz")
		case s.Health.Status == "ok":
		case isFull(s):
			c.found(Fail, on(f, s)+clip("/healthz is "+s.Health.Status+": "+s.Health.Error),
				"its store is full, as `nats store` says")
		case strings.Contains(s.Health.Error, "meta leader"):
			c.found(Fail, on(f, s)+clip("/healthz is "+s.Health.Status+": "+s.Health.Error),
				"check that more than half of the servers run and reach each other, and check again in a minute: this "+
					"is normal during an election")
		case strings.Contains(s.Health.Error, "not current"):
			c.found(Fail, on(f, s)+clip("/healthz is "+s.Health.Status+": "+s.Health.Error),
				"check again in a minute: this is normal while a server starts or a leader is elected; otherwise see "+
					"its log")
		default:
			c.found(Fail, on(f, s)+clip("/healthz is "+s.Health.Status+": "+s.Health.Error),
				"if its disk is full, make room, then restart the server, which refuses writes until then; otherwise "+
					"see its log")
		}
	}
	return c
}

// fill checks how full the store of each server is. A server started on a nearly full disk reports
// itself healthy and refuses writes: it derives its limit from the room that it finds at the start.
func fill(f servers.Fleet) Check {
	c := Check{Name: "nats store", State: OK}
	text := func(s servers.Server) string {
		return fmt.Sprintf("%s of %s (%d %%)",
			size(s.JetStream.Storage), size(s.JetStream.Config.MaxStorage),
			percent(s.JetStream.Storage, s.JetStream.Config.MaxStorage))
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
			"make room on the disk of NATS, or raise max_file_store in nats.conf if it is there, then restart the "+
				"server: it reckons the limit when it starts")
	}
	if len(nearly) > 0 {
		c.found(Warn, strings.Join(nearly, ", ")+": once it is full, every webhook is answered 503",
			"a larger disk and max_file_store, or a lower EVENTS_MAX_AGE; `log growth` says how long it lasts")
	}
	for _, s := range f.Servers {
		if m := s.JetStream; !m.Disabled && percent(m.Memory, m.Config.MaxMemory) >= fills {
			c.found(Warn, fmt.Sprintf("%s%s of %s in memory (%d %%)", on(f, s), size(m.Memory),
				size(m.Config.MaxMemory), percent(m.Memory, m.Config.MaxMemory)),
				"raise max_memory_store in nats.conf: without stripe_pace, which is there, syncs cost more requests")
		}
	}
	if c.State == OK {
		c.Text = each(f, text)
	}
	return c
}

func isFull(s servers.Server) bool { return s.JetStream.Storage > s.JetStream.Config.MaxStorage }

// on returns the server as the beginning of a text, "" if it is the only one.
func on(f servers.Fleet, s servers.Server) string {
	if len(f.Servers)+len(f.Missing)+f.Unnamed == 1 {
		return ""
	}
	return named(s) + ": "
}

// all names the servers that answered.
func all(f servers.Fleet) string {
	if len(f.Missing)+f.Unnamed > 0 {
		return fmt.Sprintf("the %d that answer", len(f.Servers))
	}
	return fmt.Sprintf("all %d", len(f.Servers))
}

// named returns a server's display name. A server without server_name has its id as name.
func named(s servers.Server) string {
	if s.Name == s.ID && len(s.ID) > 8 {
		return s.ID[:8] + "…"
	}
	return s.Name
}

// each lists text for every server.
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

// size formats a number of bytes.
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

// longest bounds the quoted length, in bytes, of a server's own text.
const longest = 400

func clip(s string) string {
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest], "") + "…"
}
