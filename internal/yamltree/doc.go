// Package yamltree reads the YAML of a document as a tree whose nodes know their line and column. It
// refuses the parts of YAML with which a short text stands for a huge document, and texts for which the
// parser has no bound.
package yamltree
