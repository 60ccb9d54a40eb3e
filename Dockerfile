# One small image with the four programs: ingest, syncer, gateway and entitled.
#
#     docker build -t entitled .
#     docker run --rm entitled ingest --help
#     docker run -v entitled:/data -p 127.0.0.1:8080:8080 -e STRIPE_API_KEY -e STRIPE_WEBHOOK_SECRETS entitled

ARG GO_VERSION=1.26
ARG ALPINE_VERSION=3.22

FROM golang:${GO_VERSION}-alpine AS build
WORKDIR /src
# The modules are a layer of their own: they change less often than the code.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# No cgo, so the programs need no library of the image; no build paths in them.
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/ ./cmd/ingest ./cmd/syncer ./cmd/gateway ./cmd/entitled

# Alpine instead of an empty image for its wget: health checks request /readyz from inside, where the admin listener on loopback can
# be reached.
FROM alpine:${ALPINE_VERSION}
# The syncer verifies Stripe's certificate with these.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/ /usr/local/bin/
# Where `entitled serve` keeps its data: a volume that is mounted there belongs to the user below. The other programs store
# nothing on disk. None opens a port below 1024.
RUN install -d -o 65532 -g 65532 -m 0700 /data
USER 65532:65532
EXPOSE 8080 8090
# One image, four programs. By default everything runs in one process; for a daemon or a command name it.
CMD ["entitled", "serve", "--data", "/data"]
