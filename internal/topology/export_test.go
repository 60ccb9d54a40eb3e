package topology

// FieldNames are the fields of streams and of consumers that are compared.
func FieldNames() (names []string) {
	for _, f := range streamFields() {
		names = append(names, f.name)
	}
	for _, f := range consumerFields() {
		names = append(names, f.name)
	}
	return names
}
