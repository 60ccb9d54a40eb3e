# One small image with the three programs: ingest, syncer and entitled.
#
#     docker build -t entitled .
#     docker run --rm entitled ingest --help

ARG GO_VERSION=1.26
ARG ALPINE_VERSION=3.22

FROM golang:${GO_VERSION}-alpine AS build
WORKDIR /src
# The modules are a layer of their own: they change less often than the code.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# No cgo, so the programs need nothing of the image they run in; no paths of this build in them.
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/ ./cmd/ingest ./cmd/syncer ./cmd/entitled

# Alpine and not an empty image for its wget: health checks ask /readyz from inside, where the admin listener on loopback can
# be reached.
FROM alpine:${ALPINE_VERSION}
# By these the syncer knows Stripe.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/ /usr/local/bin/
# They keep nothing on disk, and open no port below 1024.
USER 65532:65532
EXPOSE 8080
# One image, three programs: say which. Without a word it is the tool, which lists its commands.
CMD ["entitled", "--help"]
