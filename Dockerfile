# A node in a container. `make image` builds it; compose.yaml runs two.
#
#     docker run -v codex:/data -p 127.0.0.1:8080:8080 codex-node
#
# Options follow the image's name, as in `codex-node --storage-quota=500GiB`, or go in the environment
# (-e CODEX_STORAGE_QUOTA=500GiB). Commands run inside: docker exec NAME codex ls

FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY codex codex
RUN python -m venv /opt/codex \
    && /opt/codex/bin/pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt .

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="Codex node" \
      org.opencontainers.image.description="A node of the Codex network: decentralised, durable storage" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/codex /opt/codex
# The owner is a number, so that nothing has to be added to the image for it; a new volume takes it over.
RUN install -d -o 10001 -g 10001 -m 0700 /data
# In here the API listens on every address, because that is how an engine reaches a container. It is the -p
# above that keeps it to this machine. Whoever reaches it may store and delete: publish it on any other
# address only with a token (CODEX_API_TOKEN_FILE) in front of it.
ENV PATH=/opt/codex/bin:$PATH \
    HOME=/data \
    CODEX_DATA_DIR=/data \
    CODEX_API_BINDADDR=0.0.0.0 \
    CODEX_API_PORT=8080 \
    CODEX_METRICS_ADDRESS=0.0.0.0 \
    CODEX_METRICS_PORT=8008
USER 10001:10001
VOLUME /data
# 8008 answers when metrics are on (CODEX_METRICS=true).
EXPOSE 8080 8008
# It asks the node where the options in the environment, or the data directory, say that it listens. Without
# urllib, which would go by a proxy from the environment.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", "\
from http.client import HTTPConnection; from codex.cli.finding import environment, find_node; \
at = find_node([], environment()); node = HTTPConnection(at.host, at.port, timeout=4); \
node.request('GET', '/api/codex/v1/health'); raise SystemExit(node.getresponse().status != 200)"]
# Uploads in progress get some seconds, what is being written is finished: allow 60 s (docker stop -t 60).
STOPSIGNAL SIGTERM
ENTRYPOINT ["codex"]
