# The image of failoverd: Debian's own Python, the locked dependencies, no shell needed at run time.
# BASE and the Python in it can be replaced by any Debian trixie root, which is how the lab proves this layout.
ARG BASE=docker.io/library/debian:trixie-slim

FROM ${BASE} AS build
RUN apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv ca-certificates
WORKDIR /src
COPY requirements.lock ./
RUN python3 -m venv /opt/failoverd \
 && /opt/failoverd/bin/pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY failoverd failoverd
# The package itself is copied rather than built: no build backend has to be trusted or fetched.
RUN cp -r failoverd /opt/failoverd/lib/python3*/site-packages/ \
 && /opt/failoverd/bin/python -m compileall -q /opt/failoverd/lib \
 && rm -rf /opt/failoverd/bin/pip* /opt/failoverd/lib/python3*/site-packages/pip*

FROM ${BASE}
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/failoverd /opt/failoverd
ENV PATH=/opt/failoverd/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["/opt/failoverd/bin/python", "-m", "failoverd"]
CMD ["run", "--config", "/etc/failoverd/config.toml"]
