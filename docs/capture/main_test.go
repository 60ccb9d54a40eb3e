package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRuns(t *testing.T) {
	t.Parallel()
	got := runs("\x1b[32m✓\x1b[0m \x1b[1mcus_1  \x1b[0m  a → b   c")
	want := []run{{0, "✓", "32"}, {2, "cus_1", "1"}, {11, "a → b   c", ""}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(run{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff([]run{{11, "a → b", ""}, {19, "c", ""}}, words(got[2]), cmp.AllowUnexported(run{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestPictureIsXML(t *testing.T) {
	t.Parallel()
	picture := draw("\x1b[2m$\x1b[0m a <b> && c\n\nd", 20)
	dec := xml.NewDecoder(strings.NewReader(string(picture)))
	for {
		_, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, picture)
		}
	}
}
