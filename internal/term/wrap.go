package term

import "strings"

// Wrap breaks text between words into lines of at most width columns. A longer word has a line of
// its own. Text between backticks, a command to copy, counts as one word.
func Wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range words(text) {
		if line != "" && Columns(line)+1+Columns(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func words(text string) []string {
	var list []string
	open := false
	for word := range strings.FieldsSeq(text) {
		if open {
			list[len(list)-1] += " " + word
		} else {
			list = append(list, word)
		}
		open = open != (strings.Count(word, "`")%2 == 1)
	}
	return list
}
