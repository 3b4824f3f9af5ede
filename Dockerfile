# The collector for Cloud Run or any other host of containers: all routes, on port 8080.
#
#   docker build -t profbucket .
#   docker run -p 8080:8080 -v profiles:/profiles -e PROFBUCKET_KEYS="$KEYS" profbucket
#   docker run profbucket key create
FROM python:3.13-slim

# What rarely changes comes first: the layer with the packages is rebuilt only when a pin changes.
COPY requirements.txt /src/
RUN python -m pip install --no-cache-dir --requirement /src/requirements.txt

# The pins above are those of all extras.
COPY pyproject.toml README.md LICENSE /src/
COPY profbucket/ /src/profbucket/
COPY storage_gcs/ /src/storage_gcs/
COPY storage_local/ /src/storage_local/
COPY storage_s3/ /src/storage_s3/
RUN python -m pip install --no-cache-dir --no-deps /src

# A numeric user, so that an orchestrator can tell that it is not root. It writes to /profiles and /tmp only.
RUN install --directory --owner=10001 --group=10001 /profiles
USER 10001:10001
WORKDIR /profiles
VOLUME /profiles

# Unbuffered, so that the last lines before a crash reach the log.
ENV STORAGE_URL=file:///profiles PYTHONUNBUFFERED=1
EXPOSE 8080

# Without PROFBUCKET_KEYS or PROFBUCKET_ANONYMOUS=1 the collector serves only its own machine, the container.
ENTRYPOINT ["profbucket"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8080"]
