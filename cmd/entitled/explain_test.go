package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/stripeevent"
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

func plain(b *bytes.Buffer) terminal {
	return newTerminal(b, func(string) string { return "" })
}

// The three stories a person on call must be able to read, and two of trouble that is not over.
func TestStories(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"lost", "parked", "raced", "uncovered", "set-aside"} {
		var b bytes.Buffer
		out := plain(&b)
		out.clips = true
		storyView{view: view{out}, story: loadStory(t, name)}.show()
		for i, line := range strings.Split(b.String(), "\n") {
			if columns(line) > plainWidth {
				t.Errorf("%s: line %d is %d columns wide: %q", name, i+1, columns(line), line)
			}
		}
		golden(t, "explain-"+name+".txt", b.String())
	}
}

// A story in a file or a pipe can be searched for every event type and subscription that it tells of.
func TestStoryIsWholeInAPipe(t *testing.T) {
	t.Parallel()
	story := loadStory(t, "raced")
	var b bytes.Buffer
	storyView{view: view{plain(&b)}, story: story}.show()
	for _, step := range story.Steps {
		if step.Event != nil && !strings.Contains(b.String(), step.Event.Type+" ") {
			t.Errorf("%s is not whole", step.Event.Type)
		}
	}
	if !strings.Contains(b.String(), "sub_1RX7opQazWvkt67fELvzm2Sf cancel_at: ") || strings.Contains(b.String(), "…") {
		t.Errorf("an id is cut:\n%s", b.String())
	}
}

// What an app was told before and after a change that no webhook announced, and while an event waited.
func TestTold(t *testing.T) {
	t.Parallel()
	lost := loadStory(t, "lost")
	last := lost.Steps[len(lost.Steps)-1].At()
	for name, at := range map[string]time.Time{"before": last.Add(-time.Millisecond), "after": last, "never": lost.Steps[0].At().Add(-time.Hour)} {
		var b bytes.Buffer
		showTold(plain(&b), lost.Customer, lost.Told(at))
		golden(t, "told-"+name+".txt", b.String())
	}
	var b bytes.Buffer
	parked := loadStory(t, "set-aside")
	showTold(plain(&b), parked.Customer, parked.Told(parked.Now.At))
	golden(t, "told-parked.txt", b.String())
}
