# One image for migrate, worker and API: the command chooses. Nothing runs as root.
FROM python:3.12-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /app
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
# The packages change seldom, so they have a layer of their own.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 tenure
WORKDIR /app
COPY --from=build /app/.venv .venv
COPY journeys journeys
COPY store store
COPY activities activities
COPY workflows workflows
COPY api api
COPY worker worker
COPY cli cli
COPY catalog catalog
RUN python -m compileall -q journeys store activities workflows api worker cli
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 TENURE_LOG_FORMAT=json TENURE_HOME=/home/tenure/.tenure
USER tenure
EXPOSE 8400 8401
# Each process drains on SIGTERM; give it TENURE_GRACEFUL_SHUTDOWN_SECONDS before it is killed.
CMD ["python", "-m", "cli", "--help"]
