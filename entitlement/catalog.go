package entitlement

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// A Catalog is what a plans document names. It grants nothing: it is for programs that list all
// features, those included that a customer does not have.
type Catalog struct {
	// IDs reports that the document says where your own id of a customer is.
	IDs bool
	// IDName is the name of the metadata of a customer that holds your own id; empty without IDs.
	IDName string
	// Features and Limits are the sorted names in the document's lists, its plans and its default.
	Features, Limits []string
}

// Catalog returns the catalog of the plans document in force, or of the last one that was read. It
// is zero without a document. Known is false until the client knows whether there is one: see
// [Status].PlansErr for the reason.
func (c *Client) Catalog() (catalog Catalog, known bool) {
	if p := c.plans.catalog.Load(); p != nil {
		return *p, true
	}
	return Catalog{}, false
}

// readCatalog reads only the names of a plans document's canonical JSON. As [readDefault], it
// ignores everything else.
func readCatalog(document []byte) (*Catalog, error) {
	type names struct {
		Features []string       `json:"features"`
		Limits   map[string]any `json:"limits"`
		Adds     map[string]any `json:"adds"`
	}
	var doc struct {
		IDs *struct {
			Metadata string `json:"metadata"`
		} `json:"ids"`
		Features []string         `json:"features"`
		Limits   []string         `json:"limits"`
		Plans    map[string]names `json:"plans"`
		Default  names            `json:"default"`
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		return nil, fmt.Errorf("read the names of the plans document: %w", err)
	}
	c := &Catalog{IDs: doc.IDs != nil, Features: doc.Features, Limits: doc.Limits}
	if c.IDs {
		c.IDName = doc.IDs.Metadata
	}
	add := func(n names) {
		c.Features = append(c.Features, n.Features...)
		c.Limits = slices.AppendSeq(c.Limits, maps.Keys(n.Limits))
		c.Limits = slices.AppendSeq(c.Limits, maps.Keys(n.Adds))
	}
	for _, n := range doc.Plans {
		add(n)
	}
	add(doc.Default)
	slices.Sort(c.Features)
	slices.Sort(c.Limits)
	c.Features, c.Limits = slices.Compact(c.Features), slices.Compact(c.Limits)
	return c, nil
}
