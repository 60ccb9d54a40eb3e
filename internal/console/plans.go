package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"entitled/internal/applied"
	"entitled/internal/console/beside"
	"entitled/internal/plans"
	"entitled/internal/tell"
)

const (
	// versionsAtOnce is how many versions a page of the plans has.
	versionsAtOnce = 50
	// plansWithin bounds the reading of all versions.
	plansWithin = 30 * time.Second
)

// A plansView is the document in force, and a page of the versions, the newest first.
type plansView struct {
	InForce applied.InForce
	YAML    string
	// Progress says how far the snapshots are decided under it.
	Progress      string
	Versions      []tell.PlansVersion
	Before, After int // the pages beside this one; 0 for none
	Command       string
	Mode          string
}

// planText is a document as `plans show` prints it.
func planText(d *plans.Document) (string, error) {
	if d == nil {
		return "", nil
	}
	bare := *d
	bare.Number = 0
	text, err := bare.YAML()
	return string(text), err
}

// versions reads the documents of the mode, in the order in which they were applied.
func (v *visit) versions() (b *applied.Bucket, all []applied.Version, inForce applied.InForce, err error) {
	js, err := v.source.jetStream()
	if err != nil {
		return nil, nil, inForce, err
	}
	if b, err = applied.Open(v.ctx, js, v.cfg.Mode); err != nil {
		if errors.Is(err, applied.ErrNoBucket) {
			err = problem{http.StatusServiceUnavailable, "No pipeline here yet", tell.Hinted{Err: err,
				Hint: "create it with `entitled topology apply`"}}
		}
		return nil, nil, inForce, err
	}
	if inForce, err = b.InForce(v.ctx); err == nil {
		all, err = b.Versions(v.ctx)
	}
	return b, all, inForce, err
}

// showPlans answers GET /plans.
func showPlans(v *visit) (answer, error) {
	b, all, inForce, err := v.versions()
	if err != nil {
		return answer{}, err
	}
	view := plansView{InForce: inForce, Command: v.cfg.Self, Mode: string(v.cfg.Mode)}
	if view.YAML, err = planText(inForce.Document); err != nil {
		return answer{}, fmt.Errorf("write document %d: %w", inForce.Number, err)
	}
	if inForce.Document != nil {
		if view.Progress, err = progress(v.ctx, b, inForce.Number); err != nil {
			return answer{}, err
		}
	}
	rows := tell.PlansLog(all, inForce)
	page := min(atLeast(1, v.FormValue("page")), max(1, (len(rows)+versionsAtOnce-1)/versionsAtOnce))
	first := (page - 1) * versionsAtOnce
	last := min(first+versionsAtOnce, len(rows))
	view.Versions, view.Before = rows[first:last], page-1
	if last < len(rows) {
		view.After = page + 1
	}
	return answer{template: "plans", title: "Plans", data: view}, nil
}

// progress says how far the snapshots are decided under a document.
func progress(ctx context.Context, b *applied.Bucket, document uint64) (string, error) {
	p, err := b.ReadProgress(ctx)
	switch {
	case err != nil:
		return "", err
	case p.Deciding == document && p.Total > 0:
		return fmt.Sprintf("%s of %s snapshots are decided under it", number(p.Done), number(p.Total)), nil
	case p.Number >= document:
		return "every snapshot is decided under it", nil
	}
	return "the syncers decide the snapshots under it next", nil
}

// A versionView is one version, beside the one before.
type versionView struct {
	tell.PlansVersion
	YAML   string
	Former uint64 // 0 for none
	Lines  []beside.Line
	// Command reverts to it.
	Command, Mode string
}

// showVersion answers GET /plans/{number}.
func showVersion(v *visit) (answer, error) {
	_, all, inForce, err := v.versions()
	if err != nil {
		return answer{}, err
	}
	number, _ := strconv.ParseUint(v.PathValue("number"), 10, 64) // no document has 0
	var former *plans.Document
	for i, version := range all {
		if version.Number != number {
			if version.Document != nil {
				former = version.Document
			}
			continue
		}
		rows := tell.PlansLog(all, inForce)
		view := versionView{PlansVersion: rows[len(rows)-1-i], Command: v.cfg.Self, Mode: string(v.cfg.Mode)}
		if view.YAML, err = planText(version.Document); err != nil {
			return answer{}, fmt.Errorf("write document %d: %w", number, err)
		}
		before, err := planText(former)
		if err != nil {
			return answer{}, fmt.Errorf("write document %d: %w", former.Number, err)
		}
		if former != nil && version.Document != nil {
			view.Former = former.Number
			view.Lines = beside.Lines(lines(before), lines(view.YAML))
		}
		return answer{template: "version", title: fmt.Sprintf("Document %d", number), data: view}, nil
	}
	return answer{}, problem{http.StatusNotFound, "No such document", tell.Hinted{
		Err:  fmt.Errorf("there is no document %s in %s mode", v.PathValue("number"), v.cfg.Mode),
		Hint: "the page Plans lists them"}}
}

func lines(text string) []string { return strings.Split(strings.TrimSuffix(text, "\n"), "\n") }
