// Package docs is the project's documents; `go generate ./docs` makes their pictures and the output
// that they show.
package docs

//go:generate go run oss.terrastruct.com/d2@v0.7.2 --pad 10 flow.d2 flow.svg
//go:generate go test . -run TestOperations -update
//go:generate go run ./capture -dir .. -columns 100 dev.svg go run ./cmd/entitled dev --for 10s
