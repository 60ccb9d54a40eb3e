package term

import "fmt"

// labelWidth is the width of the column of labels.
const labelWidth = 14

// Row prints a label and text beside it, which wraps in its own column. Rows in sequence form a
// table.
func (t Terminal) Row(label, text string) {
	room := max(20, t.Width()-labelWidth-2)
	for i, line := range Wrap(Printable(text), room) {
		if i > 0 {
			label = ""
		}
		fmt.Fprintf(t, "  %s%s\n", t.Paint(Faint, Pad(label, labelWidth)), line)
	}
}

// Line prints a row that people copy: it does not wrap.
func (t Terminal) Line(label, text string) {
	fmt.Fprintf(t, "  %s%s\n", t.Paint(Faint, Pad(label, labelWidth)), Printable(text))
}
