// Package beside puts two texts beside each other, line by line.
package beside

// A Line is a line of the left text, of the right one, or of both. The side that lacks it is empty.
type Line struct {
	Left, Right     string
	OnLeft, OnRight bool
	// Same says that both have the line.
	Same bool
}

// mostCells bounds the memory for the comparison. Beyond it, all lines between the first and the last
// difference count as different.
const mostCells = 4_000_000

// Lines aligns the lines of two texts, by the longest common subsequence.
func Lines(a, b []string) (lines []Line) {
	same := func(line string) { lines = append(lines, Line{line, line, true, true, true}) }
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		same(a[0])
		a, b = a[1:], b[1:]
	}
	end := 0
	for end < len(a) && end < len(b) && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	tail := a[len(a)-end:]
	a, b = a[:len(a)-end], b[:len(b)-end]
	common := longest(a, b)
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j] && common != nil:
			same(a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && (common == nil || common[i+1][j] >= common[i][j+1]):
			lines = append(lines, Line{Left: a[i], OnLeft: true})
			i++
		default:
			lines = append(lines, Line{Right: b[j], OnRight: true})
			j++
		}
	}
	for _, line := range tail {
		same(line)
	}
	return joined(lines)
}

// longest returns, for each pair of ends of a and b, the length of their longest common subsequence; nil if
// they are too long.
func longest(a, b []string) [][]uint16 {
	if (len(a)+1)*(len(b)+1) > mostCells {
		return nil
	}
	table := make([][]uint16, len(a)+1)
	for i := range table {
		table[i] = make([]uint16, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				table[i][j] = table[i+1][j+1] + 1
			} else {
				table[i][j] = max(table[i+1][j], table[i][j+1])
			}
		}
	}
	return table
}

// joined puts the lines between two common ones side by side: the first that only the left text has
// beside the first that only the right one has, and so on.
func joined(lines []Line) (out []Line) {
	for i := 0; i < len(lines); {
		if lines[i].Same {
			out = append(out, lines[i])
			i++
			continue
		}
		var left, right []Line
		for ; i < len(lines) && !lines[i].Same; i++ {
			if lines[i].OnLeft {
				left = append(left, lines[i])
			} else {
				right = append(right, lines[i])
			}
		}
		for k := range max(len(left), len(right)) {
			var p Line
			if k < len(left) {
				p.Left, p.OnLeft = left[k].Left, true
			}
			if k < len(right) {
				p.Right, p.OnRight = right[k].Right, true
			}
			out = append(out, p)
		}
	}
	return out
}
