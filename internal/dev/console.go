package dev

// ConsoleAddr is where the console listens, unless the setting names another address or the port is
// taken.
const ConsoleAddr = "127.0.0.1:8084"

// openConsole opens the console's listener.
func (d *dev) openConsole() error {
	p := &d.pipeline
	p.console, p.self = d.Console, d.Self
	var err error
	if p.shown, err = Listen("CONSOLE_ADDR", d.ConsoleAddr, ConsoleAddr); err != nil {
		return err
	}
	d.onClose(func() error {
		p.shown.Close() //nolint:errcheck // the console closes it, unless something failed before
		return nil
	})
	return nil
}
