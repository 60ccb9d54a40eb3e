package stories

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// loadStory reads a story that `explain --json` printed of a pipeline that ran.
func loadStory(t *testing.T, name string) *audit.Story {
	t.Helper()
	b, err := os.ReadFile("testdata/story-" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Customer string
		Story    audit.Story
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	file.Story.Customer = stripeevent.Customer{Mode: entitlement.Test, ID: file.Customer}
	return &file.Story
}

func plain(b *bytes.Buffer) term.Terminal {
	return term.New(b, func(string) string { return "" })
}

// The three stories a person on call must be able to read, two of trouble that is not over, and two
// of a snapshot that vanished.
func TestStories(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"lost", "parked", "raced", "uncovered", "set-aside", "gone", "restored"} {
		var b bytes.Buffer
		out := plain(&b)
		out.Screen = true
		storyView{View: tell.View{Out: out}, story: loadStory(t, name), coverageEvery: 5 * time.Minute}.show()
		for i, line := range strings.Split(b.String(), "\n") {
			if term.Columns(line) > term.PlainWidth {
				t.Errorf("%s: line %d is %d columns wide: %q", name, i+1, term.Columns(line), line)
			}
		}
		golden(t, "explain-"+name+".txt", b.String())
	}
}

// A story in a file or a pipe can be searched for every event type and subscription in it.
func TestStoryIsWholeInAPipe(t *testing.T) {
	t.Parallel()
	story := loadStory(t, "raced")
	var b bytes.Buffer
	storyView{View: tell.View{Out: plain(&b)}, story: story}.show()
	for _, step := range story.Steps {
		if step.Event != nil && !strings.Contains(b.String(), step.Event.Type+" ") {
			t.Errorf("%s is not whole", step.Event.Type)
		}
	}
	if !strings.Contains(b.String(), "sub_1RX7opQazWvkt67fELvzm2Sf cancel_at: ") || strings.Contains(b.String(), "…") {
		t.Errorf("an id is cut:\n%s", b.String())
	}
}

// An app's view before and after a change that no webhook announced, and while an event
// waited.
func TestTold(t *testing.T) {
	t.Parallel()
	lost := loadStory(t, "lost")
	last := lost.Steps[len(lost.Steps)-1].At()
	for name, at := range map[string]time.Time{"before": last.Add(-time.Millisecond), "after": last,
		"never": lost.Steps[0].At().Add(-time.Hour)} {
		var b bytes.Buffer
		PrintAt(plain(&b), lost.Customer, lost.ViewAt(at), lost.StandingAt(at))
		golden(t, "told-"+name+".txt", b.String())
	}
	var b bytes.Buffer
	parked := loadStory(t, "set-aside")
	PrintAt(plain(&b), parked.Customer, parked.ViewAt(parked.Now.At), parked.StandingAt(parked.Now.At))
	golden(t, "told-parked.txt", b.String())
	// Between the purchase and the sync that found the bucket emptied, the state is unknown.
	restored, gone := loadStory(t, "restored"), loadStory(t, "gone")
	for name, at := range map[string]time.Time{"vanished": restored.Steps[len(restored.Steps)-1].At().Add(-time.Millisecond), "gone": gone.Now.At} {
		story := map[string]*audit.Story{"vanished": restored, "gone": gone}[name]
		var b bytes.Buffer
		PrintAt(plain(&b), story.Customer, story.ViewAt(at), story.StandingAt(at))
		golden(t, "told-"+name+".txt", b.String())
	}
	for _, step := range restored.Steps {
		if y := step.Sync; y != nil && y.Record.Snapshot != nil {
			y.Record.Snapshot.Access, y.Record.Snapshot.Status = false, "canceled"
		}
	}
	at := restored.Steps[len(restored.Steps)-1].At().Add(-time.Millisecond)
	b.Reset()
	PrintAt(plain(&b), restored.Customer, restored.ViewAt(at), restored.StandingAt(at))
	if text := b.String(); !strings.Contains(text, "no access: canceled") ||
		!strings.Contains(text, "  vanished      the snapshot may have been gone") {
		t.Errorf("what gave no access before it vanished:\n%s", text)
	}
}

// Every way in which access can have come to be as it is, in words.
func TestHeadlines(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 14, 2, 0, 0, time.UTC)
	since := now.Add(-90 * time.Minute)
	webhook := entitlement.Cause{Trigger: stripeevent.TriggerWebhook, Event: "evt_1", Type: "invoice.voided"}
	access, before := true, since.Add(-time.Hour)
	over, still := &audit.Gap{After: before, Revision: 6, Access: &access, Status: "active", Until: &since},
		&audit.Gap{After: before, Revision: 6}
	denied := &audit.Gap{After: before, Revision: 6, Access: new(bool), Status: "canceled", Until: &since}
	var b strings.Builder
	for _, st := range []audit.Standing{
		{How: audit.BySync, Since: &since, Was: "active", Became: "canceled", Revision: 7, Cause: webhook,
			Events: []string{"invoice.voided", "a", "b", "customer.subscription.deleted", "c"}},
		{How: audit.BySync, Since: &since, Was: "past_due", Became: "past_due", Revision: 7,
			Cause: entitlement.Cause{Trigger: stripeevent.TriggerWake}, Unannounced: true},
		{How: audit.BySync, Since: &since, Became: "deleted", Revision: 7,
			Cause:  entitlement.Cause{Trigger: stripeevent.TriggerRecover, Event: "evt_2", Type: "customer.deleted"},
			Events: []string{"customer.deleted"}},
		{How: audit.BySync, Since: &since, Access: true, First: true, Became: "active", Revision: 7, Cause: webhook,
			Events: []string{"customer.subscription.created"}},
		{How: audit.BySync, Since: &since, Access: true, First: true, Became: "active", Revision: 7, Cause: webhook,
			Events:      []string{"invoice.voided", "customer.subscription.created"},
			AnnouncedBy: &audit.Announcement{Event: "evt_9", Type: "customer.subscription.created"}},
		{How: audit.BySync, Since: &since, Access: true, First: true, Became: "trialing", Revision: 7,
			Cause: entitlement.Cause{Trigger: stripeevent.TriggerBackfill}},
		{How: audit.BySync, Since: &since, Access: true, Was: "unpaid", Became: "active", Revision: 7,
			Cause: entitlement.Cause{Trigger: stripeevent.TriggerRedrive}},
		{How: audit.ByItself, Since: &since, Revision: 7, Cause: webhook},
		{How: audit.ByItself, Since: &since},
		{How: audit.Forgotten, Since: &since},
		{How: audit.Never},
		{How: audit.Never, AtLeastSince: &since, Status: "incomplete"},
		{How: audit.Unrecorded, AtLeastSince: &since, Cause: webhook},
		{How: audit.Unrecorded, AtLeastSince: &since, Record: 3, Revision: 7},
		{How: audit.Unrecorded},
		{How: audit.Unkept, AtLeastSince: &since, Access: true, Cause: webhook},
		{How: audit.Unkept, AtLeastSince: &since, Record: 3},
		{How: audit.BySync, Since: &since, Access: true, Became: "active", Revision: 7,
			Cause: entitlement.Cause{Trigger: stripeevent.TriggerReplay}, Vanished: over},
		{How: audit.BySync, Since: &since, Access: true, Became: "active", Revision: 7,
			Cause: entitlement.Cause{Trigger: stripeevent.TriggerBackfill}, Vanished: denied},
		{How: audit.Unrecorded, AtLeastSince: &since, Became: "canceled", Record: 3, Revision: 7,
			Cause: entitlement.Cause{Trigger: stripeevent.TriggerRequest}, Vanished: over},
		{How: audit.Unrecorded, AtLeastSince: &since, Record: 2, Revision: 6, Vanished: over},
		{How: audit.Unrecorded, Record: 2, Revision: 6, Vanished: still},
	} {
		st.At, st.Known = now, true
		b.WriteString(answer(st) + "\n")
	}
	b.WriteString(answer(audit.Standing{How: audit.Unreadable}) + "\n" +
		answer(audit.Standing{How: audit.Unkept}) + "\n")
	b.WriteString(answer(audit.Standing{How: audit.Unrecorded, Vanished: over}) + "\n" +
		answer(audit.Standing{How: audit.Unrecorded,
			Vanished: &audit.Gap{After: before, Revision: 6, Access: &access, Status: "active"}}) + "\n")
	golden(t, "headlines.txt", b.String())
}

// An event that came while Stripe was read stands above a sync that does not cover it, and says
// which one does.
func TestEventThatASyncPassedOver(t *testing.T) {
	t.Parallel()
	story := loadStory(t, "raced")
	// The webhook's sync is the one that covers the event.
	for _, step := range story.Steps {
		if y := step.Sync; y != nil && len(y.Covers) == 1 {
			y.Covers = nil
		}
	}
	last, event := story.Steps[len(story.Steps)-1].Sync, story.Steps[len(story.Steps)-3].Event
	last.Covers, event.CoveredBy = []uint64{event.Seq}, last.Seq
	var b bytes.Buffer
	storyView{View: tell.View{Out: plain(&b)}, story: story}.show()
	want := "               arrived while the next sync was reading; the sync of\n                 01:20:10.196 covers it\n01:20:07.794 "
	if !strings.Contains(b.String(), want) || !strings.Contains(b.String(), "covers the event of 01:20:07.233\n") {
		t.Errorf("printed:\n%s\nwant %q", b.String(), want)
	}
}

// A customer that is parked has no sync to wait for, unless a new event came.
func TestWaitingWhileParked(t *testing.T) {
	t.Parallel()
	story := loadStory(t, "set-aside")
	for _, step := range story.Steps {
		if e := step.Event; e != nil && e.Fate == audit.SetAside {
			e.Fate = audit.Waiting
		}
	}
	var b bytes.Buffer
	storyView{View: tell.View{Out: plain(&b)}, story: story}.show()
	if want := "waits: the customer is parked, and this event starts a new\n                 attempt\n"; !strings.Contains(b.String(), want) {
		t.Errorf("printed:\n%s\nwant %q", b.String(), want)
	}
}

// An event without a sync is marked again by the coverage check: before its time has passed, that
// it should have been is untrue.
func TestUncoveredUntilCoverageHasRun(t *testing.T) {
	t.Parallel()
	story := loadStory(t, "uncovered")
	came := story.Uncovered()[0].StoredAt
	stopped := false
	for _, tc := range []struct {
		age     time.Duration
		running *bool
		want    string
	}{
		{10 * time.Second, nil, "1 EVENT WITHOUT A SYNC: the coverage check, every COVERAGE_EVERY (5m0s), will mark the customer again. Mark it now with `entitled replay --customer cus_uLSniVOXELFCMy --mode test`"},
		{5 * time.Minute, nil, "will mark the customer again."},
		{7 * time.Minute, nil, "1 EVENT WITHOUT A SYNC: the coverage check should have marked the customer again."},
		{7 * time.Minute, &stopped, "nothing marks the customer again while no syncer runs the coverage check."},
	} {
		story.Now.At, story.Now.Running = came.Add(tc.age), tc.running
		if list := Verdicts(story, 5*time.Minute); !strings.Contains(list[0].Text, tc.want) {
			t.Errorf("after %s: %q, want %q", tc.age, list[0].Text, tc.want)
		}
	}
}

// A marker that came back after a failure did not wait in the queue.
func TestWaits(t *testing.T) {
	t.Parallel()
	started := time.Date(2026, 11, 24, 14, 2, 0, 0, time.UTC)
	received := started.Add(-48 * time.Second)
	y := &audit.Sync{Record: record.Record{MarkerSeq: 7, ReceivedAt: &received, StartedAt: started,
		AsOf: started.Add(3 * time.Millisecond), Outcome: record.Changed}}
	if got, want := waits(y), "waited 48 s in the queue, 3 ms for the budget"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	y.Retry = true
	if got, want := waits(y), "waited 48 s, retried after a failure, 3 ms for the budget"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

var backquoted = regexp.MustCompile("`[^`]+`")

// A command to copy is about the customer that was asked for, whatever the mode is that is found where none is said.
func TestCommandsNameTheMode(t *testing.T) {
	t.Parallel()
	differing := loadStory(t, "lost")
	differing.Now.Fresh = &audit.Fresh{Snapshot: differing.Now.Snapshot, Changes: []audit.Change{{Path: "access"}}}
	bought := loadStory(t, "gone")
	bought.Steps = slices.DeleteFunc(bought.Steps,
		func(step audit.Step) bool { return step.Event != nil }) // by a backfill
	for want, story := range map[string]*audit.Story{
		"`entitled replay --customer cus_uLSniVOXELFCMy`, `entitled doctor`":           loadStory(t, "uncovered"),
		"`entitled parked --redrive cus_FFYqsR8to1vZJH`":                               loadStory(t, "set-aside"),
		"`entitled replay --customer cus_uLSniVOXELFCMy`, `entitled replay --rebuild`": loadStory(t, "gone"),
		"`entitled sync cus_uLSniVOXELFCMy`, `entitled replay --rebuild`":              bought,
		"`entitled sync cus_uLSniVOXELFCMy`":                                           differing,
	} {
		for _, mode := range []entitlement.Mode{entitlement.Test, entitlement.Live} {
			story.Customer.Mode = mode
			want := strings.ReplaceAll(strings.ReplaceAll(want, "`, `", " --mode "+string(mode)+"`, `")+"|", "`|",
				" --mode "+string(mode)+"`")
			var list []string
			for _, x := range Verdicts(story, 5*time.Minute) {
				list = append(list, backquoted.FindAllString(x.Text, -1)...)
			}
			if got := strings.Join(list, ", "); got != want {
				t.Errorf("in mode %s: %s, want %s", mode, got, want)
			}
		}
	}
	if err := Unknown(stripeevent.Customer{Mode: entitlement.Live, ID: "cus_X"},
		nil); !strings.Contains(err.(tell.Hinted).Hint, "`entitled sync cus_X --mode live`") {
		t.Errorf("of an unknown customer: %v", err)
	}
}
