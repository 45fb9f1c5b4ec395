# The pages, then the binary, then nothing but the binary.
FROM node:20-bookworm-slim AS pages
WORKDIR /src/web
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY web ./
RUN npm run build

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
COPY --from=pages /src/web/dist web/dist
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -tags goaac_simd -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /whipcast ./cmd/whipcast \
    && mkdir -p /data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /whipcast /whipcast
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
ENV WHIPCAST_DATA_DIR=/data
VOLUME /data
# The addresses inside: 8080 for everything by HTTP, 8100 for all media.
EXPOSE 8080/tcp 8100/udp 8100/tcp
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s CMD ["/whipcast", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/whipcast"]
CMD ["serve"]
