package docs

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the output that the pages of operations show")

var (
	// A marker names a golden file, and may choose the lines between two that contain a text.
	marker = regexp.MustCompile(`^<!-- golden: (\S+)(?: from "([^"]+)")?(?: to "([^"]+)")? -->$`)
	// shown is a command of which a block may show the output.
	shown = regexp.MustCompile(`^\$ (?:[A-Z_]+=\S+ )*entitled\b`)
)

// The output on a page is that of the golden file that its marker names.
func TestOperationsShowTheGoldenFiles(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("operations/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		want, err := generated(string(text))
		switch {
		case err != nil:
			t.Errorf("%s: %v", page, err)
		case want == string(text):
		case *update:
			if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("%s shows other output than the golden files: run go generate ./docs", page)
		}
	}
}

// generated is a page with the blocks behind its markers replaced. A block keeps its first lines,
// which are a command.
func generated(page string) (string, error) {
	var out strings.Builder
	lines := strings.SplitAfter(page, "\n")
	for i := 0; i < len(lines); i++ {
		out.WriteString(lines[i])
		m := marker.FindStringSubmatch(strings.TrimSpace(lines[i]))
		if !strings.HasPrefix(lines[i], "```") && m == nil {
			continue
		}
		if m != nil {
			if i++; i == len(lines) || lines[i] != "```\n" {
				return "", fmt.Errorf("no block follows %s", m[0])
			}
			out.WriteString(lines[i])
		}
		for i++; i < len(lines) && !strings.HasPrefix(strings.TrimSpace(lines[i]), "```"); i++ {
			command := strings.HasPrefix(lines[i], "$ ") || strings.HasPrefix(lines[i], "> ")
			if m == nil && !command && shown.MatchString(lines[i-1]) {
				return "", fmt.Errorf("the output of %q has no marker", lines[i-1])
			}
			if m == nil || command {
				out.WriteString(lines[i])
			}
		}
		if i == len(lines) {
			return "", fmt.Errorf("a block does not end")
		}
		if m != nil {
			golden, err := excerpt(m[1], m[2], m[3])
			if err != nil {
				return "", err
			}
			out.WriteString(golden)
		}
		out.WriteString(lines[i])
	}
	return out.String(), nil
}

// excerpt is a golden file from the first line that contains a text to the next one that contains another.
func excerpt(file, from, to string) (string, error) {
	b, err := os.ReadFile(filepath.Join("..", file))
	if err != nil {
		return "", err
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(b), "\n")+"\n", "\n")
	lines = lines[:len(lines)-1]
	begin, end := 0, len(lines)
	if from != "" {
		if begin = index(lines, from); begin < 0 {
			return "", fmt.Errorf("%s has no line with %q", file, from)
		}
	}
	if to != "" {
		last := index(lines[begin:], to)
		if last < 0 {
			return "", fmt.Errorf("%s has no line with %q after %q", file, to, from)
		}
		end = begin + last + 1
	}
	text := strings.Join(lines[begin:end], "")
	if begin > 0 {
		text = "…\n" + text
	}
	if end < len(lines) {
		text += "…\n"
	}
	return text, nil
}

func index(lines []string, text string) int {
	for i, line := range lines {
		if strings.Contains(line, text) {
			return i
		}
	}
	return -1
}

// Each command of `entitled --help` has a page, and the index leads to it and to all other pages.
func TestEveryCommandHasAPage(t *testing.T) {
	t.Parallel()
	help, err := os.ReadFile("../cmd/entitled/testdata/help-entitled.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(help), "\nCommands:\n")
	commands := regexp.MustCompile(`(?m)^  ([a-z]+)`).FindAllStringSubmatch(list, -1)
	if len(commands) < 18 {
		t.Fatalf("read %d commands in:\n%s", len(commands), help)
	}
	for _, m := range commands {
		if _, err := os.Stat("operations/" + m[1] + ".md"); err != nil {
			t.Errorf("entitled %s has no page: %v", m[1], err)
		}
	}
	start, err := os.ReadFile("operations/README.md")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("operations/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		if name := filepath.Base(page); name != "README.md" && !strings.Contains(string(start), "]("+name+")") {
			t.Errorf("the index does not link to %s", name)
		}
	}
}
