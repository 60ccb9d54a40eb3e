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

// Supported reports whether a server of this version is new enough.
func Supported(version string) bool { return supported(version) }
