package stories

import (
	"time"

	"entitled/internal/audit"
	"entitled/internal/stripeevent"
)

// A Line is a story as JSON.
type Line struct {
	storyHead
	Headline headline `json:"headline"`
	*audit.Story
	// Uncovered are the sequences of the events that nothing covers, Waiting those of the events
	// that a sync is still to cover.
	Uncovered []uint64 `json:"uncovered"`
	Waiting   []uint64 `json:"waiting"`
}

// NewLine returns a story from a time on.
func NewLine(story *audit.Story, since time.Time) Line {
	shown := *story
	shown.Steps = after(story.Steps, since)
	return Line{
		storyHead: headOf(story.Customer), Headline: newHeadline(story.Standing(), caveat(story)), Story: &shown,
		Uncovered: sequences(story.Uncovered()), Waiting: sequences(story.Waiting()),
	}
}

// A ViewLine is the answer that an app got at an earlier time, as JSON.
type ViewLine struct {
	storyHead
	Headline headline   `json:"headline"`
	Told     audit.View `json:"told"`
}

// NewViewLine returns the answer that an app got.
func NewViewLine(c stripeevent.Customer, view audit.View, standing audit.Standing) ViewLine {
	return ViewLine{headOf(c), newHeadline(standing, ""), view}
}

func headOf(c stripeevent.Customer) storyHead { return storyHead{c.ID, c.Account, string(c.Mode)} }

func sequences(events []*audit.Heard) []uint64 {
	list := make([]uint64, 0, len(events))
	for _, e := range events {
		list = append(list, e.Seq)
	}
	return list
}

// after are the steps from an instant on.
func after(steps []audit.Step, since time.Time) []audit.Step {
	for i, step := range steps {
		if !step.At().Before(since) {
			return steps[i:]
		}
	}
	return []audit.Step{}
}

type storyHead struct {
	Customer string `json:"customer"`
	Account  string `json:"account,omitempty"`
	Mode     string `json:"mode"`
}
