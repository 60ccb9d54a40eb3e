package command

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

// A question ends with its context, as at the first Ctrl-C, without an answer.
func TestQuestionIsInterrupted(t *testing.T) {
	t.Parallel()
	if line, err := readLine(t.Context(), strings.NewReader("cus_1\n")); line != "cus_1\n" || err != nil {
		t.Errorf("read %q, %v", line, err)
	}
	silent, typing := io.Pipe()
	defer typing.Close() //nolint:errcheck // it ends the read
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	if line, err := readLine(ctx, silent); line != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("read %q, %v", line, err)
	}
}
