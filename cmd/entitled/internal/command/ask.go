package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"entitled/internal/tell"
)

// Ask asks a question on the terminal and returns the answer. so says what an interrupted question
// means.
func (s *Session) Ask(ctx context.Context, question, so string) (string, error) {
	fmt.Fprint(s.Err, question)
	line, err := readLine(ctx, os.Stdin)
	if ctx.Err() != nil {
		fmt.Fprintln(s.Err)
		return "", tell.WithHint(errors.New("interrupted: "+so), "run it again, and answer")
	}
	if err != nil {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	return strings.TrimSpace(line), nil
}

// readLine reads a line, unless ctx ends before. Then the read goes on in the background until the
// program ends.
func readLine(ctx context.Context, in io.Reader) (string, error) {
	type answer struct {
		line string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(in).ReadString('\n')
		answers <- answer{line, err}
	}()
	select {
	case a := <-answers:
		return a.line, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
