package stripesim

import (
	"net/http"
	"slices"
	"sort"
)

// placed is an object with a position in a list.
type placed interface{ at() *place }

// pageOf returns one page, newest first, of a list that is kept oldest first; more reports whether
// objects follow. It skips objects that do not match and visits as little of the list as possible.
func pageOf[R placed](
	all []R, q *query, cursor func(id string) (*place, bool), what string, match func(R) bool,
) (page []R, more bool, err *apiError) {
	created := q.span("created")
	lo := sort.Search(len(all), func(i int) bool { return all[i].at().created >= created.from })
	hi := sort.Search(len(all), func(i int) bool { return all[i].at().created > created.to })
	after, before := q.one["starting_after"], q.one["ending_before"]
	if after != "" && before != "" {
		return nil, false, twoCursors()
	}
	if after != "" {
		p, ok := cursor(after)
		if !ok {
			return nil, false, missing(http.StatusBadRequest, what, after, "starting_after")
		}
		hi = min(hi, sort.Search(len(all), func(i int) bool { return !all[i].at().less(p) }))
	}
	if before == "" {
		for i := hi - 1; i >= lo; i-- {
			if !match(all[i]) {
				continue
			}
			if len(page) == q.limit {
				return page, true, nil
			}
			page = append(page, all[i])
		}
		return page, false, nil
	}
	p, ok := cursor(before)
	if !ok {
		return nil, false, missing(http.StatusBadRequest, what, before, "ending_before")
	}
	lo = max(lo, sort.Search(len(all), func(i int) bool { return p.less(all[i].at()) }))
	for i := lo; i < hi; i++ {
		if !match(all[i]) {
			continue
		}
		if len(page) == q.limit {
			more = true
			break
		}
		page = append(page, all[i])
	}
	slices.Reverse(page)
	return page, more, nil
}

func twoCursors() *apiError {
	return badParam("", "starting_after",
		"You may only specify one of these parameters: starting_after, ending_before.")
}

// pageOfSlice returns one page of a short list, in the order of the list.
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
		return nil, false, twoCursors()
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
