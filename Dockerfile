# Built by `docker build -t codyverse .`; deploy/compose/compose.yaml runs it. A release that must be built again to the byte names
# the digest of the base behind its tag (python:…@sha256:…).

FROM python:3.11.14-slim-bookworm AS packages
COPY requirements.txt /
# What is not in the lock, or has another hash, is not installed. Everything has a wheel, so there is no compiler here.
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary=:all: --require-hashes -r /requirements.txt \
    && /venv/bin/pip uninstall --yes pip setuptools

FROM python:3.11.14-slim-bookworm
# pg_dump, for `flask backup`; bookworm's is of version 15, and a newer server needs one of its own version.
RUN apt-get update \
    && apt-get install -y --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/*
# A number, so that a cluster which refuses to run root can tell.
RUN groupadd --gid 10001 codyverse \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/codyverse --shell /usr/sbin/nologin codyverse \
    && install -d -o codyverse -g codyverse -m 0700 /var/lib/codyverse \
    && install -d -o codyverse -g codyverse -m 0755 /etc/haproxy
COPY --from=packages /venv /venv
WORKDIR /app
COPY config ./config
COPY codyverse ./codyverse
COPY content ./content
COPY deploy/haproxy ./deploy/haproxy
COPY docs/operations ./docs/operations
COPY wsgi.py gunicorn.conf.py ./
# The root may be mounted read-only: what is written goes to the instance folder and to /dev/shm.
RUN python -m compileall -q config codyverse wsgi.py gunicorn.conf.py
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FLASK_APP=wsgi.py \
    CODYVERSE_ENV=production \
    CODYVERSE_INSTANCE_PATH=/var/lib/codyverse \
    GUNICORN_CMD_ARGS=--bind=0.0.0.0:8000
USER 10001:10001
VOLUME /var/lib/codyverse
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=2).close()"]
# Not by way of a shell, so that SIGTERM reaches gunicorn.
CMD ["gunicorn"]
