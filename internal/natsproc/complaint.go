package natsproc

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// After a kill, a server's warning that it reads a store without its index is normal recovery. The
// other messages below mean a damaged store.
var (
	damage = regexp.MustCompile(`(?i)panic:|fatal error|corrupt|truncat|monitor goroutine not running|` +
		`bad stream state|(stream|consumer|node) write error|resetting stream|error applying|orphaned|checksum`)
	failure = regexp.MustCompile(`\[(ERR|FTL)\] .*(?i:store|stream|consumer|raft|block|snapshot)`)
)

func complains(line string) bool { return damage.MatchString(line) || failure.MatchString(line) }

// Complaints returns the lines of all logs about damaged stores, with the server's name before
// each. The servers may be running.
func (c *Cluster) Complaints() ([]string, error) {
	var lines []string
	for _, n := range c.nodes {
		f, err := os.Open(n.log)
		if err != nil {
			return nil, fmt.Errorf("search the log of %s: %w", n.order.Name, err)
		}
		scan := bufio.NewScanner(f)
		scan.Buffer(nil, 1<<20)
		for scan.Scan() {
			if complains(scan.Text()) {
				lines = append(lines, n.order.Name+": "+scan.Text())
			}
		}
		err = scan.Err()
		_ = f.Close() // opened for reading
		if err != nil {
			return nil, fmt.Errorf("search the log of %s: %w", n.order.Name, err)
		}
	}
	return lines, nil
}

// lately returns the last lines of the server's log that name the stream.
func (n *node) lately(stream string) string {
	data, err := os.ReadFile(n.log)
	if err != nil {
		return err.Error()
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, stream) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-20):], "")
}
