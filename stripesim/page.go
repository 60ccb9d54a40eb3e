package stripesim

import (
	"net/http"
	"slices"
	"sort"

	"entitled/stripesim/internal/api"
)

// placed is an object with a position in a list.
type placed interface{ at() *place }

// pageOf returns one page, newest first, of a list that is kept oldest first; more reports whether
// objects follow. It skips objects that do not match and visits as little of the list as possible.
func pageOf[R placed](
	all []R, q *api.Query, cursor func(id string) (*place, bool), what string, match func(R) bool,
) (page []R, more bool, err *api.Error) {
	created := q.Span("created")
	lo := sort.Search(len(all), func(i int) bool { return all[i].at().created >= created.From })
	hi := sort.Search(len(all), func(i int) bool { return all[i].at().created > created.To })
	after, before := q.One["starting_after"], q.One["ending_before"]
	if after != "" && before != "" {
		return nil, false, twoCursors()
	}
	if after != "" {
		p, ok := cursor(after)
		if !ok {
			return nil, false, api.Missing(http.StatusBadRequest, what, after, "starting_after")
		}
		hi = min(hi, sort.Search(len(all), func(i int) bool { return !all[i].at().less(p) }))
	}
	if before == "" {
		for i := hi - 1; i >= lo; i-- {
			if !match(all[i]) {
				continue
			}
			if len(page) == q.Limit {
				return page, true, nil
			}
			page = append(page, all[i])
		}
		return page, false, nil
	}
	p, ok := cursor(before)
	if !ok {
		return nil, false, api.Missing(http.StatusBadRequest, what, before, "ending_before")
	}
	lo = max(lo, sort.Search(len(all), func(i int) bool { return p.less(all[i].at()) }))
	for i := lo; i < hi; i++ {
		if !match(all[i]) {
			continue
		}
		if len(page) == q.Limit {
			more = true
			break
		}
		page = append(page, all[i])
	}
	slices.Reverse(page)
	return page, more, nil
}

func twoCursors() *api.Error {
	return api.BadParam("", "starting_after",
		"You may only specify one of these parameters: starting_after, ending_before.")
}

// pageOfSlice returns one page of a short list, in the order of the list.
func pageOfSlice[T any](all []T, q *api.Query, id func(*T) string, what string) ([]T, bool, *api.Error) {
	find := func(param string) (int, *api.Error) {
		for i := range all {
			if id(&all[i]) == q.One[param] {
				return i, nil
			}
		}
		return 0, api.Missing(http.StatusBadRequest, what, q.One[param], param)
	}
	after, before := q.One["starting_after"], q.One["ending_before"]
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
		from := max(0, i-q.Limit)
		return all[from:i], from > 0, nil
	}
	return all[:min(q.Limit, len(all))], len(all) > q.Limit, nil
}
