# The images of docker-compose.temporal.yml, each a target. All programs are built
# from the pinned sources that the tests run, Temporal's too (tools/go.mod).
ARG GO=golang:1.26.8-bookworm
ARG BASE=debian:bookworm-slim

FROM ${GO} AS roller-build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=container
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/roller ./cmd/roller

FROM ${GO} AS temporal-build
WORKDIR /src/tools
COPY tools/go.mod tools/go.sum ./
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /out/temporal-server go.temporal.io/server/cmd/server \
 && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /out/temporal-sql-tool go.temporal.io/server/cmd/tools/sql \
 && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /out/temporal-ui-server github.com/temporalio/ui-server/v2/cmd/server

FROM ${BASE} AS base
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 65532 --no-create-home --shell /usr/sbin/nologin roller
USER 65532:65532

# Temporal's server and the tool that makes its databases.
FROM base AS temporal
COPY --from=temporal-build /out/temporal-server /out/temporal-sql-tool /usr/local/bin/
COPY deploy/temporal/production.yaml deploy/temporal/dynamicconfig.yaml /etc/temporal/
COPY deploy/temporal/setup-schema deploy/temporal/with-secrets /usr/local/lib/temporal/
COPY deploy/healthy /usr/local/lib/roller/
ENTRYPOINT ["/usr/local/lib/temporal/with-secrets"]
CMD ["temporal-server", "--root", "/", "--config", "etc/temporal", "--env", "production", "--allow-no-auth", "start", \
     "--service", "frontend", "--service", "internal-frontend", "--service", "history", "--service", "matching", "--service", "worker"]

FROM base AS temporal-ui
COPY --from=temporal-build /out/temporal-ui-server /usr/local/bin/
COPY deploy/temporal-ui/production.yaml /etc/temporal-ui/
CMD ["temporal-ui-server", "--root", "/", "--config", "etc/temporal-ui", "--env", "production", "start"]

# The API, `roller setup` and the command line.
FROM base AS roller
COPY --from=roller-build /out/roller /usr/local/bin/
COPY deploy/healthy /usr/local/lib/roller/
WORKDIR /etc/roller/inventory
ENTRYPOINT ["roller"]
CMD ["api"]

# The worker: ipmitool for bridged BMCs, and raw sockets for pings, which an
# unprivileged user has by the program's own capability.
FROM roller AS worker
USER 0:0
RUN apt-get update \
 && apt-get install -y --no-install-recommends ipmitool libcap2-bin \
 && rm -rf /var/lib/apt/lists/* \
 && setcap cap_net_raw+ep /usr/local/bin/roller
USER 65532:65532
CMD ["worker"]
