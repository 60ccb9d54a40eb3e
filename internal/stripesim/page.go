package stripesim

import (
	"net/http"
	"sort"
)

// placed is an object with a place in a list.
type placed interface{ at() *place }

// pageOf is one page of a list that is kept oldest first and told newest first. Only
// objects that match count. It touches no more of the list than it must.
func pageOf[R placed](all []R, q *query, cursor func(id string) (*place, bool), what string, match func(R) bool) ([]R, bool, *apiError) {
	created := q.span("created")
	lo := sort.Search(len(all), func(i int) bool { return all[i].at().created >= created.from })
	hi := sort.Search(len(all), func(i int) bool { return all[i].at().created > created.to })
	after, before := q.one["starting_after"], q.one["ending_before"]
	if after != "" && before != "" {
		return nil, false, badParam("", "starting_after", "You may only specify one of these parameters: starting_after, ending_before.")
	}
	if after != "" {
		p, ok := cursor(after)
		if !ok {
			return nil, false, missing(http.StatusBadRequest, what, after, "starting_after")
		}
		hi = min(hi, sort.Search(len(all), func(i int) bool { return !all[i].at().less(p) }))
	}
	var out []R
	if before == "" {
		for i := hi - 1; i >= lo; i-- {
			if !match(all[i]) {
				continue
			}
			if len(out) == q.limit {
				return out, true, nil
			}
			out = append(out, all[i])
		}
		return out, false, nil
	}
	p, ok := cursor(before)
	if !ok {
		return nil, false, missing(http.StatusBadRequest, what, before, "ending_before")
	}
	more := false
	lo = max(lo, sort.Search(len(all), func(i int) bool { return p.less(all[i].at()) }))
	for i := lo; i < hi; i++ {
		if !match(all[i]) {
			continue
		}
		if len(out) == q.limit {
			more = true
			break
		}
		out = append(out, all[i])
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out, more, nil
}

// pageOfSlice pages through a short list that is told in its own order.
func pageOfSlice[T any](all []T, q *query, id func(*T) string, what string) ([]T, bool, *apiError) {
	find := func(param string) (int, *apiError) {
		for i := range all {
			if id(&all[i]) == q.one[param] {
				return i, nil
			}
		}
		return 0, missing(http.StatusBadRequest, what, q.one[param], param)
	}
	after, before := q.one["starting_after"], q.one["ending_before"]
	switch {
	case after != "" && before != "":
		return nil, false, badParam("", "starting_after", "You may only specify one of these parameters: starting_after, ending_before.")
	case after != "":
		i, err := find("starting_after")
		if err != nil {
			return nil, false, err
		}
		all = all[i+1:]
	case before != "":
		i, err := find("ending_before")
		if err != nil {
			return nil, false, err
		}
		from := max(0, i-q.limit)
		return all[from:i], from > 0, nil
	}
	return all[:min(q.limit, len(all))], len(all) > q.limit, nil
}
