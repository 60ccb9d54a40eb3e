package console

import (
	"context"
	"sync"
	"time"

	"entitled/entitlement"
	"entitled/internal/doctor"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// doctorWithin bounds an examination: each question has a limit of its own.
const doctorWithin = 90 * time.Second

// An examiner keeps the last report of the doctor. One examination runs at a time.
type examiner struct {
	running sync.Mutex

	mu     sync.Mutex
	report *doctor.Report // nil before the first
	at     time.Time
}

// A doctorView is the last report.
type doctorView struct {
	At     time.Time // zero before the first
	Groups []checks
	Tally  string
	Tone   term.Tone
	// Busy says that an examination was running already.
	Busy bool
	Now  time.Time
}

// checks are those of a mode, or those of all modes together.
type checks struct {
	Mode entitlement.Mode
	List []checked
}

// A checked is a check with its mark.
type checked struct {
	doctor.Check
	Mark string
	Tone term.Tone
}

// showDoctor answers GET /doctor. It asks NATS nothing.
func showDoctor(v *visit) (answer, error) {
	e := v.examiner
	e.mu.Lock()
	report, at := e.report, e.at
	e.mu.Unlock()
	view := doctorView{At: at, Busy: v.FormValue("busy") != "", Now: v.now}
	if report != nil {
		view.Tally = tell.Tally(*report)
		_, view.Tone = tell.CheckMark(report.State)
		for _, c := range report.Checks {
			if n := len(view.Groups); n == 0 || view.Groups[n-1].Mode != c.Mode {
				view.Groups = append(view.Groups, checks{Mode: c.Mode})
			}
			mark, tone := tell.CheckMark(c.State)
			group := &view.Groups[len(view.Groups)-1]
			group.List = append(group.List, checked{c, mark, tone})
		}
	}
	return answer{template: "doctor", title: "Doctor", data: view}, nil
}

// examine answers POST /doctor. The report is whole even if the browser does not wait for it.
func examine(v *visit) (answer, error) {
	if _, err := v.source.jetStream(); err != nil {
		return answer{}, err
	}
	e := v.examiner
	if !e.running.TryLock() {
		return answer{location: "/doctor?busy=1"}, nil
	}
	defer e.running.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.ctx), doctorWithin)
	defer cancel()
	report := doctor.Examine(ctx, doctor.Config{
		NATS: v.cfg.NATS, Modes: []entitlement.Mode{v.cfg.Mode}, Topology: v.cfg.Topology, MaxBody: v.cfg.MaxBody,
		Marks: v.cfg.Marks, CoverageEvery: v.cfg.CoverageEvery, Monitor: v.cfg.Monitor, Gateways: v.cfg.Gateways,
		Version: v.cfg.Version, Now: v.Console.now,
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.report, e.at = &report, v.Console.now()
	return answer{location: "/doctor"}, nil
}
