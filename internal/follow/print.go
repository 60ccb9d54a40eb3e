package follow

import (
	"fmt"

	"entitled/entitlement"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// A Printer prints changes, a line each.
type Printer struct {
	lines
	// Brief leaves out the state that was found.
	Brief bool
}

// NewPrinter returns a printer that prints to out.
func NewPrinter(out term.Terminal) *Printer { return &Printer{lines: lines{out: out}} }

// Heading prints what is watched, and the legend.
func (p *Printer) Heading(watching string) {
	p.out.Note("watching " + watching)
	p.out.Note(Legend)
	fmt.Fprintln(p.out)
}

// FewEnough is how many customers' states are shown before the changes; people do not read more.
const FewEnough = 20

// Begin prints how many customers are watched: the named ones, or all that have a snapshot. Of more than
// [FewEnough] that are not named it leaves out the current state.
func (p *Printer) Begin(named, all int, mode entitlement.Mode) {
	p.Brief = named == 0 && all > FewEnough
	watching := tell.Count(all, "customer")
	if named > 0 {
		watching = tell.Count(named, "customer") + " by name"
	}
	watching += " of mode " + string(mode)
	if p.Brief {
		watching += fmt.Sprintf("; the current state of more than %d is left out: name customers, or use --json",
			FewEnough)
	}
	p.Heading(watching)
}

// Print prints one change. The error is that of the output: a reader that closed it ends the
// command.
func (p *Printer) Print(c Change) error {
	if p.Brief && c.Initial {
		return nil
	}
	_, err := fmt.Fprintln(p.out, p.format(c))
	return err
}
