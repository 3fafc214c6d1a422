# The image of failoverd: Debian's own Python, the locked dependencies, nothing that builds anything.
# BASE may be any Debian trixie root: the lab proves this layout on one it made itself.
ARG BASE=docker.io/library/debian:trixie-slim

FROM ${BASE} AS python
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log

FROM python AS build
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv
# A folder of wheels instead of the index, where the build has no network.
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
WORKDIR /src
COPY requirements.lock ./
RUN python3 -m venv /opt/failoverd \
 && /opt/failoverd/bin/pip install --no-cache-dir --disable-pip-version-check \
      --require-hashes --no-deps --only-binary :all: --requirement requirements.lock \
 && /opt/failoverd/bin/pip uninstall --yes --quiet pip \
 && rm -rf /opt/failoverd/bin/activate* /opt/failoverd/bin/Activate*
# The package is copied rather than built: no build tool has to be fetched or trusted.
COPY failoverd failoverd
RUN cp -r failoverd "$(echo /opt/failoverd/lib/python3*/site-packages)/" \
 && printf '#!/opt/failoverd/bin/python\nfrom failoverd.__main__ import main\n\nraise SystemExit(main())\n' >/opt/failoverd/bin/failoverd \
 && chmod 755 /opt/failoverd/bin/failoverd \
 && /opt/failoverd/bin/python -m compileall -q -j 2 /opt/failoverd/lib

FROM python
COPY --from=build /opt/failoverd /opt/failoverd
COPY LICENSE /opt/failoverd/
ENV PATH=/opt/failoverd/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
LABEL org.opencontainers.image.title="failoverd" \
      org.opencontainers.image.description="Moves Kubernetes apps between two replicated volumes when a node dies, and back." \
      org.opencontainers.image.licenses="Apache-2.0"
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
ENTRYPOINT ["/opt/failoverd/bin/failoverd"]
CMD ["run"]
