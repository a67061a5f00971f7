# The build context is the checkout. The image holds one static binary, runs as a fixed non-root user and writes nothing.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /trustglass ./cmd/trustglass

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /trustglass /trustglass
USER 65532:65532
ENTRYPOINT ["/trustglass"]
CMD ["run"]
