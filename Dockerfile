# mlflow-monitoring-exporter: no compiler, no pip, runs as user 10001, and on a read-only root.
#   docker build -t mlflow-monitoring-exporter .
#   --build-arg GRPC=yes              OTLP over gRPC too, which is 18 MB more
#   docker run -v exporter:/data -e MLFLOW_TRACKING_URI=http://mlflow:5000 mlflow-monitoring-exporter

FROM python:3.12.11-slim-bookworm AS build
WORKDIR /src
COPY requirements.txt requirements-build.txt ./
RUN python -m venv /opt/build && python -m venv --without-pip /opt/exporter \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements-build.txt \
    && /opt/build/bin/pip --python /opt/exporter/bin/python install --no-cache-dir --no-compile --require-hashes \
        -r requirements.txt
ARG GRPC=no
RUN [ "$GRPC" = yes ] || /opt/build/bin/pip --python /opt/exporter/bin/python uninstall --yes grpcio
# Debian has the time zones, nobody reads stubs or runs SQLAlchemy's tests here, and of 500 languages rich colours Python.
RUN /opt/build/bin/pip --python /opt/exporter/bin/python uninstall --yes tzdata \
    && find /opt/exporter -name '*.pyi' -delete \
    && rm -r /opt/exporter/lib/python3.*/site-packages/sqlalchemy/testing \
    && find /opt/exporter/lib/python3.*/site-packages/pygments/lexers -name '[!_]*.py' ! -name python.py -delete
COPY . .
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /tmp/wheel . ./tracking \
    && /opt/build/bin/pip --python /opt/exporter/bin/python install --no-cache-dir --no-compile --no-deps \
        /tmp/wheel/*.whl
# What a start imports is compiled now, for later the root is read-only. All of it would be 55 MB more.
WORKDIR /tmp/start
RUN unset PYTHONDONTWRITEBYTECODE \
    && /opt/exporter/bin/python -m compileall -q /opt/exporter/lib/python3.*/site-packages/mlflow_monitoring_* \
    && /opt/exporter/bin/python -c 'import mlflow_monitoring_exporter.app.replica, mlflow_monitoring_exporter.app.export_once, \
        mlflow_monitoring_exporter.cli.progress, mlflow_monitoring_exporter.adoption.spool_metrics' \
    && timeout --preserve-status 10 /opt/exporter/bin/mlflow-monitoring-exporter continuous \
        --log-level error --set web.listen=127.0.0.1:0

# For commands that end: rules generate, generate-sample, export-once. Nobody asks them whether they are alive.
FROM python:3.12.11-slim-bookworm AS command
LABEL org.opencontainers.image.title="mlflow-monitoring-exporter" \
    org.opencontainers.image.description="Keeps Prometheus, OpenTelemetry and JSON sinks in step with MLflow" \
    org.opencontainers.image.version="0.2.0" \
    org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/exporter /opt/exporter
# /data: state and files, to be a volume. /rules: what `prometheus rules generate` writes for Prometheus.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin exporter \
    && install -d -o exporter -g exporter /data /rules
ENV PATH=/opt/exporter/bin:$PATH \
    HOME=/data \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MLFLOW_EXPORTER_DEFAULT_LISTEN=:9797
WORKDIR /data
USER 10001:10001
ENTRYPOINT ["mlflow-monitoring-exporter"]

# The daemon; what a plain build makes.
FROM command
EXPOSE 9797
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["mlflow-monitoring-exporter-alive"]
CMD ["continuous"]
