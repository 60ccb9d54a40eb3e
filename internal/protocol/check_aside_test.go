package protocol

import (
	"bytes"
	"runtime"
	"slices"
	"strings"
)

// An aside is what an actor does side by side: calls that have been made and wait to happen. The
// scheduler takes them one at a time, in every order, with whatever others do in between; the actor
// goes on when all have happened.
type aside struct {
	calls []*asideCall
	// asks gets each call when it is made, and nil when one of the functions has ended.
	asks chan *asideCall
	// saw is what each function has learned: the order of what they learn together is nothing that
	// the code can tell.
	saw [][]byte
}

type asideCall struct {
	op       string
	function int
	grant    chan choice
}

// together is [Config.Together]. Each function has a goroutine, of which one runs at a time; it
// waits for them, also when the actor is killed.
func (a *actor) together(functions ...func()) {
	s := &aside{asks: make(chan *asideCall), saw: make([][]byte, len(functions))}
	s.saw[0] = bytes.Clone(a.saw)
	a.side = s
	for i, f := range functions {
		a.aside(s, i, func() {
			go func() {
				defer func() { s.asks <- nil }()
				deepen()
				f()
			}()
		})
	}
	defer func() {
		a.side = nil
		for _, c := range s.calls {
			c.grant <- choice{kind: crash}
			<-s.asks
		}
	}()
	for len(s.calls) > 0 {
		ch := a.park(s.pending())
		c := s.calls[ch.what]
		s.calls = slices.Delete(s.calls, int(ch.what), int(ch.what)+1)
		a.aside(s, c.function, func() { c.grant <- ch })
		if ch.kind == crashLose {
			runtime.Goexit()
		}
	}
}

// aside lets one function go on until its next call, or its end.
func (a *actor) aside(s *aside, function int, goes func()) {
	a.saw = s.saw[function]
	goes()
	if c := <-s.asks; c != nil {
		c.function = function
		s.calls = append(s.calls, c)
	}
	s.saw[function] = bytes.Clone(a.saw)
	a.saw = bytes.Join(s.saw, nil)
}

// ask waits for a call's turn.
func (a *actor) ask(op string) choice {
	if a.side == nil {
		return a.park(op)
	}
	c := &asideCall{op: op, grant: make(chan choice)}
	a.side.asks <- c
	ch := <-c.grant
	if ch.kind == crash {
		runtime.Goexit()
	}
	return ch
}

const besides = "+"

func (s *aside) pending() string {
	ops := make([]string, len(s.calls))
	for i, c := range s.calls {
		ops[i] = c.op
	}
	return strings.Join(ops, besides)
}

// pending are the calls that an actor has made and that have not happened.
func (a *actor) pending() []string { return strings.Split(a.at, besides) }
