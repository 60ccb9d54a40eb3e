package topology

// FieldNames returns the compared fields of streams and consumers.
func FieldNames() (names []string) {
	for _, f := range streamFields() {
		names = append(names, f.name)
	}
	for _, f := range consumerFields() {
		names = append(names, f.name)
	}
	return names
}
